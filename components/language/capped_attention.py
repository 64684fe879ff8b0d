"""Attention whose scores are capped before the softmax: no fused kernel of torch knows them.

Legend: Q queries, S keys, B batch, N query heads, G key/value heads, D head width.
"""

import torch
from torch import Tensor
from torch.nn import functional


def capped_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, *, scale: float, cap: float, dropout: float = 0.0
) -> Tensor:
    """Attend with scores cap · tanh(scores / cap): cap, mask and softmax in float32, products in the type of `query`.

    Stores some tensors of B·N·Q·S elements: give it as few queries as fit (`attention_blocks.capped_block`).

    Args:
        query: [B, N, Q, D]; key, value: [B, G, S, D], G divides N; params dtype.
        mask: [B, 1, Q, S] bool, True where attention is allowed; every query has a key.
        scale: factor on query·key, before the cap.
        cap: largest size of a score.
        dropout: share of the probabilities that become 0.

    Returns:
        [B, N, Q, D], dtype of `query`.

    Source: transformers 5.23 models/gemma2/modeling_gemma2.py, eager_attention_forward.
    """
    batch, heads, queries, width = query.shape
    groups = key.shape[1]
    # The query heads of a group as more queries: keys and values need not be repeated.
    grouped = query.reshape(batch, groups, -1, width)
    scores = torch.matmul(grouped, key.transpose(2, 3)).float()
    scores = torch.tanh(scores * (scale / cap)) * cap
    by_query = scores.view(batch, groups, heads // groups, queries, -1)
    probabilities = by_query.masked_fill(~mask[:, :, None], -torch.inf).softmax(-1).view_as(scores)
    probabilities = functional.dropout(probabilities.to(query.dtype), dropout, training=dropout > 0)
    return torch.matmul(probabilities, value).view(batch, heads, queries, width)
