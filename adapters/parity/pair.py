"""A composed model and its oracle with the same weights, and everything that is measured between them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from torch import Tensor, nn

from adapters.parity.batch import Batch, make_batch
from adapters.parity.consumed import given_to_oracle, given_to_ours
from adapters.parity.diagnosis import diagnose
from adapters.parity.gradients import gradients, oracle_gradients
from adapters.parity.oracle import build_oracle, no_progress_bars, oracle_logits, oracle_loss, save_oracle
from adapters.parity.report import (
    EMBEDDINGS_BOUND,
    LOSS_BOUND,
    Measure,
    VariantReport,
    gradient_errors,
    logits_bound,
    mask_differences,
    relative_error,
)
from adapters.parity.trace import Parting, after_last_part, first_parting
from components.build_error import BuildError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from composer import Graph


@frozen(eq=False)
class Pair:
    """Two models with the same weights, and a batch for both."""

    graph: "Graph"
    ours: nn.Module
    oracle: "PreTrainedModel"
    batch: Batch
    checkpoint: Path
    """Where transformers saved the oracle, and the composed model got its weights from."""


@contextmanager
def make_pair(graph: "Graph", seed: int = 0, **overrides: Any) -> Iterator[Pair]:
    """Build the oracle, let transformers save it, build the composed model and import the checkpoint.

    Both models and the batch end up on the device of the composed model: the current one.

    Args:
        graph: of a tiny size.
        seed: of weights and batch.
        overrides: fields of Megatron-Core's TransformerConfig, for `adapters.megatron.build`.

    Raises:
        CheckpointError: the checkpoint does not fit the composed model.
    """
    from adapters.huggingface.import_weights import import_weights
    from adapters.megatron import build

    oracle = build_oracle(graph, seed)
    with TemporaryDirectory(prefix="vlm-composer-parity-") as folder:
        checkpoint = Path(folder) / "oracle"
        save_oracle(graph, oracle, checkpoint)
        batch = make_batch(graph, oracle, seed)
        ours = build(graph, dtype=torch.float32, **overrides).eval()
        import_weights(ours, checkpoint)
        device = next(ours.parameters()).device
        yield Pair(graph, ours, oracle.to(device), batch.to(device), checkpoint)  # pyright: ignore[reportArgumentType]


def logits(ours: nn.Module, batch: Batch) -> Tensor:
    """[B, S, V] float32."""
    output: Tensor = ours(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        **batch.counts,
        **batch.features,
    )
    return output


def loss(ours: nn.Module, batch: Batch) -> Tensor:
    """Mean of the unreduced loss over `batch.loss_mask`, as training loops reduce it."""
    losses, mask = ours(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        labels=batch.labels,
        loss_mask=batch.loss_mask.float(),
        **batch.features,
    )
    mean: Tensor = (losses * mask).sum() / mask.sum()
    return mean


def measure(pair: Pair, name: str) -> VariantReport:
    """Logits, loss, every gradient, and the way back to a checkpoint; the first wrong part if they differ."""
    valid = pair.batch.attention_mask
    try:
        with torch.no_grad():
            mine, theirs = logits(pair.ours, pair.batch), oracle_logits(pair.oracle, pair.batch)
    except (ValueError, RuntimeError, BuildError, IndexError) as error:
        return _cannot_run(pair, name, error)
    logits_error = Measure("logits", relative_error(mine[valid], theirs[valid]), logits_bound(pair.graph))
    ours = given_to_ours(pair.graph, pair.ours, lambda: logits(pair.ours, pair.batch))
    given = given_to_oracle(pair.graph, pair.oracle, lambda: oracle_logits(pair.oracle, pair.batch))
    for model in (pair.ours, pair.oracle):
        model.zero_grad(set_to_none=True)
    losses = loss(pair.ours, pair.batch), oracle_loss(pair.oracle, pair.batch)
    for value in losses:
        value.backward()
    return VariantReport(
        name=name,
        parameters=sum(parameter.numel() for parameter in pair.oracle.parameters()),
        embeddings=Measure(
            "embeddings after placement",
            relative_error(ours.embeddings[valid], given.embeddings[valid]),
            EMBEDDINGS_BOUND,
        ),
        masks=mask_differences(ours.masks, given.masks, valid),
        logits=logits_error,
        loss=Measure("loss", relative_error(losses[0].detach(), losses[1].detach()), LOSS_BOUND),
        gradients=gradient_errors(gradients(pair.ours, pair.graph), oracle_gradients(pair.oracle)),
        round_trip=round_trip(pair),
        wrong_part=None if logits_error.passed else wrong_part(pair),
        look_at=() if logits_error.passed else look_at(pair),
    )


def _cannot_run(pair: Pair, name: str, error: Exception) -> VariantReport:
    """One of the models refuses the batch: rows that do not fit, a tensor of another shape."""
    found = diagnose(pair, lambda: logits(pair.ours, pair.batch), None)
    if not found:
        raise error
    return VariantReport(name, problem=f"cannot be run: {error}", look_at=found)


def wrong_part(pair: Pair) -> str:
    """Where the two models part, in words."""
    return str(_parting(pair) or after_last_part(pair.graph))


def look_at(pair: Pair) -> tuple[str, ...]:
    """The keys of the spec that say what is wrong there, with what was seen; none if nothing is known."""
    return diagnose(pair, lambda: logits(pair.ours, pair.batch), _parting(pair))


def _parting(pair: Pair) -> Parting | None:
    return first_parting(
        pair.graph,
        pair.ours,
        pair.oracle,
        lambda: logits(pair.ours, pair.batch),
        lambda: oracle_logits(pair.oracle, pair.batch),
        pair.batch.attention_mask,
    )


def round_trip(pair: Pair) -> tuple[str, ...]:
    """Export, compare with the checkpoint bit by bit, reload with transformers, compare logits bit by bit."""
    from adapters.huggingface.export_weights import export_weights

    with TemporaryDirectory(dir=pair.checkpoint.parent) as exported:
        export_weights(pair.ours, exported)
        problems = _different_tensors(pair.checkpoint, Path(exported))
        with no_progress_bars():
            reloaded = type(pair.oracle).from_pretrained(exported, attn_implementation="eager", dtype=torch.float32)
        for value in (*reloaded.parameters(), *reloaded.buffers()):
            # A mapped file's tensors may start anywhere; matrix products round by alignment.
            value.data = value.data.clone()
    reloaded.eval()
    with torch.no_grad():
        same = torch.equal(oracle_logits(reloaded, pair.batch), oracle_logits(pair.oracle, pair.batch))
    return (*problems, *([] if same else ["transformers' logits after reloading the export differ"]))


def _different_tensors(source: Path, exported: Path) -> list[str]:
    before, after = _tensors(source), _tensors(exported)
    names = sorted(before.keys() | after.keys())
    return [f"{name}: not the same bits after export" for name in names if not _same(before.get(name), after.get(name))]


def _tensors(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def _same(before: Tensor | None, after: Tensor | None) -> bool:
    if before is None or after is None or before.dtype != after.dtype or before.shape != after.shape:
        return False
    return before.contiguous().view(-1).view(torch.uint8).equal(after.contiguous().view(-1).view(torch.uint8))
