"""Queries that grow with their position. Legend: S tokens of all context ranks, Q queries, B rows, N heads, D width."""

import torch
from torch import Tensor

from components.fusion.mask_metadata import Field
from components.language.temperature_declaration import Temperature


def tempered(query: Tensor, metadata: Tensor, first: int, part: Temperature) -> Tensor:
    """Queries times log1p(floor((position + 1) / floor_scale)) · attn_scale + 1, computed in float32.

    Args:
        query: [Q, B, N, D], params dtype.
        metadata: [B, F, S] int32 mask metadata; positions are counted in the document, from the padding before it.
        first: place among the S of the first query; the others follow it.
        part: the two numbers.

    Returns:
        [Q, B, N, D], dtype of `query`.

    Source: transformers 5.23, `Llama4TextAttention`, which counts padding before the first token too.
    """
    positions = metadata[:, Field.POSITION]
    positions = positions - positions.amin(dim=-1, keepdim=True).clamp(max=0)
    positions = positions[:, first : first + query.shape[0]]
    steps = torch.floor((positions.float() + 1.0) / part.floor_scale)
    factors = torch.log1p(steps) * part.attn_scale + 1.0
    return (query * factors.t()[..., None, None]).to(query.dtype)
