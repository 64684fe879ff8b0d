"""One rank of a gated delta net: `torchrun --nproc-per-node N -m tests.distributed.delta_net_worker FOLDER`."""

import os
import sys
from pathlib import Path

import pytest
import torch
from megatron.core import parallel_state
from megatron.core.tensor_parallel.mappings import (
    gather_from_sequence_parallel_region,
    scatter_to_sequence_parallel_region,
)

from adapters.huggingface.rank_share import Part, RankShare
from adapters.megatron import runtime
from components.build_error import BuildError
from components.fusion.sequence_order import SequenceShare
from components.language.delta_net_declaration import DeltaNet
from tests.components.language.delta_nets import (
    WIDE,
    copy_weights,
    hidden,
    metadata,
    ours,
    pieces,
    theirs,
)

LENGTH = 48
CASES = {
    2: {"tp2": {"tp": 2}, "tp2xsp": {"tp": 2}, "cp2": {"cp": 2}},
    4: {"tp2xcp2": {"tp": 2, "cp": 2}, "cp4": {"cp": 4}},
}
BATCHES = {"padded": 2, "packed": 1}


def given(name: str):
    """[S, B, H], metadata in order, and what the loss weighs each value with."""
    batch = BATCHES[name]
    valid = torch.ones(batch, LENGTH, dtype=torch.bool)
    borders = None
    if name == "packed":
        borders = torch.tensor([0, 17, 18, 41])
    else:
        valid[0, 40:] = False
        valid[1, :5] = False
    x = hidden(batch, LENGTH).transpose(0, 1).contiguous()
    return x, metadata(valid, borders), torch.linspace(-1, 1, x.numel()).view_as(x)


def measure(name: str, batch: str, folder: Path) -> None:
    """Values of this rank's positions, the input's gradient there, and windows of every weight's gradient."""
    tp, cp = parallel_state.get_tensor_model_parallel_group(), parallel_state.get_context_parallel_group()
    part = Part(tp.rank(), tp.size())
    share = RankShare(tensors=part)
    module = ours(WIDE, sequence_parallel=name.endswith("sp"))
    copy_weights(WIDE, theirs(WIDE), module, share)
    x, whole, weights = given(batch)
    order = SequenceShare(cp.rank(), cp.size()).rank_order(LENGTH, x.device)
    own = order.chunk(cp.size())[cp.rank()]
    mine = x[own].requires_grad_()
    sp = name.endswith("sp")
    answer, _ = module(scatter_to_sequence_parallel_region(mine, group=tp) if sp else mine, whole[:, :, order])
    if sp:
        answer = gather_from_sequence_parallel_region(answer, tensor_parallel_output_grad=False, group=tp)
    (answer * weights[own]).sum().backward()
    found = {each: value.grad for each, value in module.named_parameters()}
    for each, value in found.items():
        # What data parallelism does, and what Megatron-Core does for norms of sequence-parallel ranks.
        torch.distributed.all_reduce(value, group=cp)
        if sp and each == "norm.weight":
            torch.distributed.all_reduce(value, group=tp)
    windows = {}
    for each, (entry, piece) in pieces(WIDE, found, share).items():
        window = entry.window(share, piece)
        lines = piece.values().reshape(window_lines(piece.shape), -1)
        windows[each] = [(*window.origin(piece.shape, line), row) for line, row in enumerate(lines)]
    result = {"own": own, "answer": answer.detach(), "input": mine.grad, "weights": windows}
    torch.save(result, folder / f"{name}.{batch}.{torch.distributed.get_rank()}.pt")


def window_lines(shape: tuple[int, ...]) -> int:
    return shape[0] * (shape[1] if len(shape) == 3 else 1)


def refuses() -> None:
    with pytest.raises(BuildError, match="3 key heads of a delta net cannot be split over 2 tensor-parallel ranks"):
        ours(DeltaNet(key_heads=3, value_heads=3, key_dim=4, value_dim=4))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, sizes in CASES[int(os.environ["WORLD_SIZE"])].items():
        runtime.init(**sizes)
        if name == "tp2":
            refuses()
        for batch in BATCHES:
            measure(name, batch, Path(sys.argv[1]))
        runtime.leave()
