"""The embed edge: token ids to text embeddings. Legend: S sequence, B batch, H hidden."""

import torch
from torch import Tensor, nn


def embed_tokens(embedding: nn.Module, input_ids: Tensor, replace: Tensor, row: int, scale: float) -> Tensor:
    """Look up text embeddings; out-of-vocabulary placeholders read a row of their own.

    Args:
        embedding: Megatron-Core's LanguageModelEmbedding.
        input_ids: [B, S] int64.
        replace: [placeholders] int64, ids that are looked up as `row`.
        scale: factor on every embedding, rounded to the table's dtype first, as the oracle does.

    Returns:
        [S, B, H], the whole sequence on every rank, the table's dtype.

    Source: transformers 5.23 modeling_gemma4.py, Gemma4Model.forward and Gemma4TextScaledWordEmbedding.
    """
    if replace.numel():
        input_ids = torch.where(torch.isin(input_ids, replace), row, input_ids)
    embeddings: Tensor = embedding(input_ids=input_ids, position_ids=None)
    return embeddings if scale == 1.0 else embeddings * torch.tensor(scale, dtype=embeddings.dtype).item()
