"""Can what a run asks of Transformer Engine be given? Asked when the model is built."""

from collections.abc import Iterator, Mapping

import torch
from megatron.core.transformer.enums import AttnBackend
from megatron.core.transformer.transformer_config import TransformerConfig

from adapters.transformer_engine.rules import NoKernel, kernel_mask
from composer.masks import Rule

MIXED = (AttnBackend.auto, AttnBackend.local)
"""Backends that leave it to us which layer kinds use our dense attention; any other asks for kernels everywhere."""


def check(config: TransformerConfig, rules: Mapping[str, Rule], softcaps: Mapping[str, float]) -> None:
    """Refuse a configuration that could only be run by ignoring a part of it.

    Args:
        config: `transformer_impl`, `attention_backend` and `moe_grouped_gemm` are read.
        rules: mask rule of each layer kind.
        softcaps: cap on the scores of each layer kind that has one.

    Raises:
        ValueError: lists everything that cannot be honoured, with the reason.
    """
    if problems := list(_problems(config, rules, softcaps)):
        raise ValueError("; ".join(problems))


def _problems(config: TransformerConfig, rules: Mapping[str, Rule], softcaps: Mapping[str, float]) -> Iterator[str]:
    backend = config.attention_backend
    if config.transformer_impl != "transformer_engine":
        if backend not in MIXED:
            yield f"attention_backend={backend.name} needs transformer_impl='transformer_engine'"
        if config.moe_grouped_gemm:
            yield "moe_grouped_gemm needs transformer_impl='transformer_engine'"
    else:
        if (missing := maybe_missing()) is not None:
            yield missing
        if backend not in MIXED:
            yield from _without_kernel(backend, rules)
            for kind, cap in softcaps.items():
                yield f"attention_backend={backend.name} cannot cap the scores of {kind} (softcap: {cap:g})"


def _without_kernel(backend: AttnBackend, rules: Mapping[str, Rule]) -> Iterator[str]:
    for kind, rule in rules.items():
        try:
            kernel_mask(rule)
        except NoKernel as error:
            yield f"attention_backend={backend.name} cannot honour the mask of {kind} ({rule}): {error}"


def maybe_missing() -> str | None:
    """What Transformer Engine lacks to run here, or None."""
    from megatron.core.extensions.transformer_engine import HAVE_TE

    needed = "transformer_impl='transformer_engine' needs"
    if not torch.cuda.is_available():
        return f"{needed} a CUDA device"
    if not HAVE_TE:
        return f"{needed} Transformer Engine: install vlm-composer[te]"
    return None
