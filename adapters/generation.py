"""Greedy answers of a composed model, given pictures and prompts only.

Legend: B samples, S positions of the longest prompt, V vocabulary.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


@torch.no_grad()
def generate(model: nn.Module, inputs: Mapping[str, Tensor], end_id: int, max_new_tokens: int) -> list[list[int]]:
    """Extend each prompt with the likeliest token, again and again, until `end_id` or the limit.

    Nothing is cached: every step runs the whole model on everything so far. Rows end at different positions, so that a
    prompt's answer does not depend on what else is in the batch.

    Args:
        model: logits [B, S, V] from `inputs`.
        inputs: the model's arguments; `input_ids` [B, S] int64 padded at the end, and `attention_mask` [B, S] bool,
            True at real tokens.
        end_id: token that ends an answer.
        max_new_tokens: most tokens of an answer.

    Returns:
        Ids of each answer, without prompt and without `end_id`.
    """
    training = model.training
    model.eval()
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    others = {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask")}
    lengths = mask.sum(dim=1)
    ids = torch.nn.functional.pad(ids, (0, max_new_tokens))
    mask = torch.nn.functional.pad(mask, (0, max_new_tokens))
    rows = torch.arange(len(ids), device=ids.device)
    open_rows = torch.ones_like(rows, dtype=torch.bool)
    answers: list[list[int]] = [[] for _ in rows]
    for _ in range(max_new_tokens):
        width = int(lengths.max())
        logits = model(input_ids=ids[:, :width], attention_mask=mask[:, :width], **others)
        likeliest = logits[rows, lengths - 1].argmax(dim=-1)
        open_rows &= likeliest != end_id
        if not open_rows.any():
            break
        ids[rows[open_rows], lengths[open_rows]] = likeliest[open_rows]
        mask[rows[open_rows], lengths[open_rows]] = True
        lengths += open_rows
        for row in torch.nonzero(open_rows).flatten().tolist():
            answers[row].append(int(likeliest[row]))
    model.train(training)
    return answers
