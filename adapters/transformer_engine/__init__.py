"""Transformer Engine under the decoder: kernels for the mask rules it can honour, and a refusal for everything else.

Importing this needs neither a GPU nor Transformer Engine; `check` says whether both are there.
"""

from adapters.transformer_engine.causal_attention import FusedAttention
from adapters.transformer_engine.request import check
from adapters.transformer_engine.rules import KernelMask, NoKernel, kernel_mask

__all__ = ["FusedAttention", "KernelMask", "NoKernel", "check", "kernel_mask"]
