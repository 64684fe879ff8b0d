"""`projector.hf_module`: a projector class of transformers. Legend: N feature rows, I items, C tower width, H decoder
width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from components.build_error import BuildError
from components.context import BuildContext
from components.hf_class import modeling_class
from components.hf_config import to_hf_config
from components.projector.hf_module_declaration import HfModule


def build(section: HfModule, context: BuildContext) -> nn.Module:
    """The class, found in the modeling file beside its first argument's configuration, in `params_dtype`.

    Raises:
        BuildError: that file has no such class.
    """
    configs = [to_hf_config(config) for config in section.args]
    found = modeling_class(configs[0], section.class_name)
    if issubclass(found, PreTrainedModel):
        raise BuildError(f"{section.class_name} is a whole model of transformers; a projector is a plain module")
    projector: nn.Module = found(*configs).to(context.transformer.params_dtype)
    for parameter in projector.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=context.transformer.init_method_std)
    return projector


def run(module: nn.Module, section: HfModule, item_rows: Tensor, **inputs: Any) -> Tensor:
    """[N, C] to [N, H], or to fewer rows where it pools.

    Args:
        module: from `build`.
        section: of the spec.
        item_rows: [I] int64, the rows of each item, N in all.
        inputs: the features as `in`, and what else the class reads.

    Raises:
        BuildError: rows of another width than the spec says, or of another number; items that differ in their number
            of rows, where the class reads items.
    """
    features = inputs.pop("in")
    if section.rows is not None:
        features = _of_items(features, item_rows, section)
    elif section.reads == "squares":
        features = features.unflatten(0, (-1, section.pool**2))
    projected: Tensor = module(features, **inputs)
    if projected.shape[-1] != section.out_dim:
        made = projected.shape[-1]
        raise BuildError(f"{section.class_name} makes rows of {made}, the spec says {section.out_dim}")
    if section.rows is None:
        return projected.flatten(0, -2)
    if projected.shape[1] != section.rows:
        made = projected.shape[1]
        raise BuildError(f"{section.class_name} makes {made} rows of every item, the spec says rows: {section.rows}")
    return projected.flatten(0, 1)


def _of_items(features: Tensor, item_rows: Tensor, section: HfModule) -> Tensor:
    """[N, C] as [I, N / I, C]."""
    counts = sorted(set(item_rows.tolist()))
    if len(counts) > 1:
        raise BuildError(
            f"{section.class_name} reads items of equally many rows, and they have between {counts[0]} and {counts[-1]}"
        )
    return features.unflatten(0, (item_rows.numel(), -1))


def rows_after(section: HfModule, item_rows: Tensor, **inputs: Any) -> Tensor:
    """Rows of each item behind the projector: [I] int64, from those it reads."""
    if section.rows is not None:
        return torch.full_like(item_rows, section.rows)
    rows = item_rows // section.pool**2
    if section.pool_frames is None:
        return rows
    frames = inputs[section.pool_frames.grids_in][:, 0].to(rows)
    return rows // frames * (frames // section.pool_frames.frames).clamp(min=1)
