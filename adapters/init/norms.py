"""What the decoder's norms multiply by, found by running one."""

from copy import deepcopy
from typing import Any

import torch

from adapters.init.draft import Notes, Said
from adapters.init.fields import choices
from adapters.init.inspection import Inspected
from components.language.gpt_declaration import DecoderConfig

KEY = "norm_weight"
SAME = 1e-5


@torch.no_grad()
def norm_weight(inspected: Inspected, notes: Notes) -> dict[str, Any]:
    """The key of the decoder's sizes that says so, if there is something to say."""
    text: Any = inspected.model.get_submodule(inspected.text)
    norm = deepcopy(getattr(text, "norm", None))
    where = "nodes.language_model.config"
    if norm is None or not isinstance(getattr(norm, "weight", None), torch.Tensor):
        notes.add(where, "the decoder has no final norm with a weight under the name norm")
        return {}
    values = torch.randn(3, norm.weight.numel(), generator=torch.Generator().manual_seed(2)) + 0.5
    unit = values * (values.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()
    made = norm(values)
    if _same(made, unit * norm.weight):
        return {}
    if _same(made, unit * (1 + norm.weight)):
        if "zero_centered" in choices(DecoderConfig, KEY):
            return {KEY: Said("zero_centered", f"measured: {type(norm).__name__} multiplies by 1 + its weight")}
        notes.add(where, f"{type(norm).__name__} multiplies by 1 + its weight: no key of the decoder says that")
        return {}
    notes.add(where, f"{type(norm).__name__} is no RMS norm with a weight: the decoder has no other")
    return {}


def _same(ours: torch.Tensor, wanted: torch.Tensor) -> bool:
    return ours.shape == wanted.shape and bool((ours - wanted).norm() <= 10 * SAME * wanted.norm())
