"""transformers' own model of the same configuration: what the composed model is measured against."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from adapters.parity.batch import Batch
from adapters.parity.states import let_remember
from components.hf_config import to_hf_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from composer import Graph

NOISE = 0.1  # on vectors and numbers that start as ones or zeros
MODALITIES = "moe_mm_token_type_ids"
"""1 at tokens of pictures and clips, and at those that begin and end one: asked of the configuration, not of a spec."""
CLIP = 2.0  # in place of an infinite bound


class OracleError(ValueError):
    """There is no transformers model to measure this spec against."""


def build_oracle(graph: "Graph", seed: int = 0) -> "PreTrainedModel":
    """transformers' model for a graph: float32, eager attention, evaluation mode, every value seeded (`perturb`).

    Raises:
        OracleError: the spec names no transformers class, or the installed transformers lacks it.
    """
    import transformers

    if graph.hf is None:
        raise OracleError(f"{graph.name} has no hf section: there is no transformers model to compare with")
    architecture = getattr(transformers, str(graph.architecture), None)
    if architecture is None:
        raise OracleError(f"transformers {transformers.__version__} has no {graph.architecture}")
    config = to_hf_config(graph.hf_config)
    # Vectors keep what they start with under the noise, and some start at random.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        oracle = architecture._from_config(config, attn_implementation="eager", dtype=torch.float32)  # noqa: SLF001
    perturb(oracle, seed)
    let_remember(graph, oracle)
    return oracle.eval()


@torch.no_grad()
def perturb(model: torch.nn.Module, seed: int = 0, device: str = "cpu") -> None:
    """Give every parameter and persistent float buffer a value that shows if it is left out.

    Matrices become normal with variance 1 / inputs, so that signals keep their size; vectors and numbers get noise on
    top of what they are. Freshly initialised ones and zeros would hide that a scale or a bias is missing.

    Args:
        model: on any device.
        seed: of the values.
        device: where they are drawn; each has a sequence of its own, and large models are slow to fill from the CPU.
    """
    generator = torch.Generator(device).manual_seed(seed)
    values = model.state_dict(keep_vars=True)
    done: set[int] = set()
    for name in sorted(values):
        value = values[name]
        if not isinstance(value, Tensor) or not value.is_floating_point() or id(value) in done:
            continue
        done.add(id(value))
        noise = torch.randn(value.shape, generator=generator, device=device).to(value.device)
        if value.ndim >= 2:
            inputs = value.shape[-1] if value.ndim <= 3 else value[0].numel()
            value.copy_(noise * inputs**-0.5)
        else:
            value.copy_(value.clamp(-CLIP, CLIP) + NOISE * noise)


def save_oracle(graph: "Graph", oracle: "PreTrainedModel", folder: Path) -> None:
    """A checkpoint of it as transformers writes them, in the form that the spec reads."""
    stored = None if graph.hf is None else graph.hf.stored
    with no_progress_bars():
        oracle.save_pretrained(folder, save_original_format=stored is None or stored.files == "published")


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Transformers writes and reads tiny checkpoints without telling."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def oracle_inputs(oracle: "PreTrainedModel", batch: Batch) -> dict[str, Any]:
    """Keyword arguments of the oracle's forward.

    Image runs and prefixes need types of tokens: without them transformers masks causally, with no error.
    """
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask.long(), **batch.features}
    named = inspect.signature(type(oracle).forward).parameters
    if MODALITIES in named:
        inputs[MODALITIES] = torch.isin(batch.input_ids, _of_pictures(oracle)).long()
    return inputs | {name: batch.token_types for name in ("mm_token_type_ids", "token_type_ids") if name in named}


def _of_pictures(oracle: "PreTrainedModel") -> Tensor:
    names = (f"{item}{place}_token_id" for item in ("image", "video") for place in ("", "_start", "_end"))
    return torch.tensor([getattr(oracle.config, name) for name in names], device=oracle.device)


def oracle_logits(oracle: "PreTrainedModel", batch: Batch) -> Tensor:
    """[B, S, V] float32."""
    logits: Tensor = oracle(**oracle_inputs(oracle, batch), use_cache=False).logits
    return logits


def oracle_loss(oracle: "PreTrainedModel", batch: Batch) -> Tensor:
    """Mean loss over `batch.loss_mask`, by transformers' own loss function, which shifts labels itself."""
    labels = torch.full_like(batch.labels, -100)
    labels[:, 1:] = batch.labels[:, :-1].masked_fill(~batch.loss_mask[:, :-1], -100)
    loss: Tensor = oracle(**oracle_inputs(oracle, batch), labels=labels, use_cache=False).loss
    return loss
