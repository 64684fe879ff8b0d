"""Megatron-LM's own training script of a composed model, as its users write it.

`torchrun … -m tests.interop.pretrain_worker FOLDER VARIANT [Megatron-LM's arguments]`
"""

import itertools
import sys
from pathlib import Path

import torch
from megatron.core import parallel_state
from megatron.core.enums import ModelType
from megatron.training import pretrain
from megatron.training.argument_utils import pretrain_cfg_container_from_args
from megatron.training.arguments import parse_and_validate_args

from adapters.megatron.provider import data_provider, forward_step, megatron_arguments, model_provider
from tests.distributed.graphs import tiny


def main(folder: Path, variant: str) -> None:
    graph = tiny(variant)
    rows = torch.load(folder / f"{variant}.pt", weights_only=True)

    def train():
        share = slice(parallel_state.get_data_parallel_rank(), None, parallel_state.get_data_parallel_world_size())
        return itertools.cycle(rows[share])

    sys.argv[1:] = [*megatron_arguments(graph), *sys.argv[3:]]
    pretrain(
        pretrain_cfg_container_from_args(parse_and_validate_args()),
        data_provider(train),
        ModelType.encoder_or_decoder,
        forward_step,
        model_provider(graph, weights=folder / variant),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2])
