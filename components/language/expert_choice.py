"""Scores, choice and weights of a router. Legend: T tokens, E experts, K experts per token, G groups of experts."""

import torch
from torch import Tensor

from components.language.feed_forward_declaration import Router


def choose(logits: Tensor, part: Router, top_k: int, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weights of the chosen experts, and which those are.

    Args:
        logits: [T, E], computed in float32 and cast from there.
        part: how experts are scored and chosen.
        top_k: K.
        bias: [E] float32, added to scores for choosing only; None: nothing.

    Returns:
        Weights [T, E] of the dtype of `logits`, zero at experts not chosen, and the choice [T, E] bool.

    Source: transformers 5.23, `*TopkRouter` of deepseek_v3, glm4v_moe and ernie4_5_vl_moe, `Llama4Router`.
    """
    wide = logits.float()
    scores = wide.sigmoid() if part.score == "sigmoid" else wide.softmax(dim=-1)
    ranked = scores.detach() if bias is None else scores.detach() + bias
    if part.groups > 1:
        ranked = ranked.masked_fill(~_in_best_groups(ranked, part), float("-inf"))
    chosen = ranked.topk(top_k, dim=-1).indices
    weights = scores.gather(-1, chosen)
    if part.renormalise:
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
    weights = weights * part.scaling
    table = torch.zeros_like(logits)
    return table.scatter(1, chosen, weights.type_as(logits)), table.bool().scatter(1, chosen, value=True)


def _in_best_groups(ranked: Tensor, part: Router) -> Tensor:
    """[T, E] bool: experts of the groups whose two best have the highest sum."""
    grouped = ranked.unflatten(-1, (part.groups, -1))
    best = grouped.topk(2, dim=-1).values.sum(-1).topk(part.group_top_k, dim=-1).indices
    allowed = torch.zeros(grouped.shape[:-1], dtype=torch.bool, device=ranked.device)
    return allowed.scatter(1, best, value=True).unsqueeze(-1).expand_as(grouped).flatten(-2)
