"""Three models with the same weights: transformers' in float32 and in bfloat16, ours in bfloat16; all on the card.

Legend: B batch, S sequence, V vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from adapters.huggingface.weight_plan import slots
from adapters.megatron import build
from adapters.parity.batch import Batch
from adapters.parity.oracle import perturb
from components.hf_config import to_hf_config
from composer import Graph

RATIO = 1.2
"""How much farther than transformers' own bfloat16 output ours may be from float32."""


@frozen(eq=False)
class Trio:
    """The models; every weight of the oracle is a bfloat16 number, so all three hold the same."""

    graph: Graph
    oracle: nn.Module
    theirs: nn.Module
    ours: nn.Module


@frozen
class Distances:
    """Relative distance of bfloat16 logits to float32 ones, over real tokens, norm-wise."""

    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs


@contextmanager
def trio(graph: Graph, transformer_impl: str, seed: int = 0) -> Iterator[Trio]:
    """Make the three; the oracle attends eagerly, transformers in bfloat16 as it does by default."""
    import transformers

    architecture = getattr(transformers, str(graph.architecture))
    config = to_hf_config(graph.hf_config)
    with torch.device("cuda"):
        oracle = architecture._from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    perturb(oracle, seed, device="cuda")
    _calm_heads(oracle)
    with torch.no_grad():
        for value in filter(torch.is_floating_point, oracle.state_dict().values()):
            value.copy_(value.bfloat16())
    with torch.device("cuda"):
        theirs = architecture._from_config(to_hf_config(graph.hf_config), dtype=torch.bfloat16).eval()
    theirs.load_state_dict(oracle.state_dict())
    ours = build(graph, dtype=torch.bfloat16, transformer_impl=transformer_impl)
    copy_weights(oracle, ours)
    yield Trio(graph, oracle, theirs, ours)


@torch.no_grad()
def _calm_heads(oracle: nn.Module) -> None:
    """Scores of order one, as trained heads have them.

    Queries and keys are normed and their product is not divided by the root of the head width: with weights near one,
    wide heads would attend to one token each, and every rounding would become an error of order one in all models.
    """
    for name, weight in oracle.named_parameters():
        if name.endswith(("self_attn.q_norm.weight", "self_attn.k_norm.weight")):
            weight.mul_(weight.shape[0] ** -0.25)


@torch.no_grad()
def copy_weights(oracle: nn.Module, ours: nn.Module) -> None:
    """Through the weight map, without a checkpoint on disk; every value of the composed model is written."""
    tensors = oracle.state_dict()
    for name, slot in slots(ours).items():
        source = tensors[name].reshape(slot.matrix.lines, slot.matrix.width)
        for place, view in slot.places():
            view.copy_(source[place.first : place.last])


@torch.no_grad()
def distances(models: Trio, batch: Batch) -> tuple[float, float, float]:
    """Squared norms over real tokens: of our error, of transformers' error, of the float32 logits."""
    real = batch.attention_mask
    exact = hf_logits(models.oracle, batch, torch.float32)[real]
    errors = []
    for logits in (our_logits(models.ours, batch), hf_logits(models.theirs, batch, torch.bfloat16)):
        difference = logits[real].float() - exact
        errors.append(float(difference.double().square().sum()))
        del logits, difference
    return errors[0], errors[1], float(exact.double().square().sum())


def summed(measured: list[tuple[float, float, float]]) -> Distances:
    """One distance over several batches or seeds."""
    ours, theirs, exact = (sum(column) for column in zip(*measured, strict=True))
    return Distances((ours / exact) ** 0.5, (theirs / exact) ** 0.5)


def our_logits(model: nn.Module, batch: Batch) -> Tensor:
    """[B, S, V] bfloat16."""
    return model(**_our_inputs(batch))


def our_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Mean loss over the tokens that count."""
    mask = batch.loss_mask.float()
    losses, mask = model(**_our_inputs(batch), labels=batch.labels, loss_mask=mask)
    return (losses * mask).sum() / mask.sum()


def hf_logits(model: nn.Module, batch: Batch, dtype: torch.dtype) -> Tensor:
    """[B, S, V] of `dtype`."""
    return model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask.long(),
        mm_token_type_ids=batch.token_types,
        use_cache=False,
        **_features(batch, dtype),
    ).logits


def _our_inputs(batch: Batch) -> dict[str, Any]:
    return {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "images_per_sample": batch.images_per_sample,
        **_features(batch, torch.bfloat16),
    }


def _features(batch: Batch, dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in batch.features.items()}


def assert_finite_step(model: nn.Module, batch: Batch) -> None:
    """One step back: the loss and every parameter's gradient are finite, and none is missing."""
    model.train()
    model.zero_grad(set_to_none=True)
    loss = our_loss(model, batch)
    loss.backward()
    assert bool(loss.isfinite())
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    broken = [
        name for name, value in model.named_parameters() if value.grad is not None and not value.grad.isfinite().all()
    ]
    assert (missing, broken) == ([], [])
    model.zero_grad(set_to_none=True)
    model.eval()
