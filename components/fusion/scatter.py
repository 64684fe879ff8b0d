"""The scatter edge: projected features into the text embeddings, at placeholder tokens.

Legend: S sequence, B batch, H hidden, N feature rows.
"""

import torch
from torch import Tensor

from components.fusion.feature_counts import FeatureCountError, check_feature_counts


def placeholder_slots(input_ids: Tensor, placeholders: Tensor) -> Tensor:
    """[B, S] bool, True where `input_ids` [B, S] is one of `placeholders` [tokens] int64."""
    return torch.isin(input_ids, placeholders)


def scatter_features(embeddings: Tensor, features: Tensor, slots: Tensor, mode: str = "replace") -> Tensor:
    """Put projected features where the text holds placeholder tokens.

    Args:
        embeddings: [S, B, H] text embeddings, params dtype; carries gradient.
        features: [N, H] projected features, batch-major in placeholder order.
        slots: [B, S] bool, True at N placeholders (see `check_slots`).
        mode: `replace`, or `add` to what is there.

    Returns:
        [S, B, H], a new tensor.

    Source: transformers 5.23 models/gemma4/modeling_gemma4.py, Gemma4Model.forward.
    """
    sample, position = slots.nonzero(as_tuple=True)
    return embeddings.index_put((position, sample), features.to(embeddings.dtype), accumulate=mode == "add")


def features_at(features: Tensor, slots: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """The features and slots of some positions alone.

    Args:
        features: [N, H] of all slots, batch-major.
        slots: [B, S] bool, True at N placeholders.
        positions: [L] int64.

    Returns:
        Features [M, H] of the M slots there, batch-major in the order of `positions`, and those slots [B, L].
    """
    number = slots.flatten().cumsum(0).view_as(slots) - 1
    slots_there = slots[:, positions]
    return features[number[:, positions][slots_there]], slots_there


def check_slots(
    slots: Tensor,
    rows: int,
    item_rows: Tensor,
    items_per_sample: Tensor | None,
    token: str,
    *,
    interrupted: bool = False,
) -> None:
    """Do items fill the placeholders exactly? Costs one transfer of a few integers to the host.

    Args:
        slots: [B, S] bool, True at placeholders.
        rows: feature rows there are.
        item_rows: [items] int64, feature rows of each item.
        items_per_sample: [B] int64, or None to deal items out in order.
        interrupted: whether text may stand between the rows of an item.

    Raises:
        FeatureCountError: see `components.fusion.feature_counts`.
    """
    starts = slots & ~slots.roll(1, -1)
    starts[:, 0] = slots[:, 0]
    stretch = starts.flatten().cumsum(0)[slots.flatten()] - 1
    lengths = torch.bincount(stretch, minlength=int(starts.sum())).tolist()
    per_sample = starts.sum(-1).tolist()
    stretches, first = [], 0
    for count in per_sample:
        stretches.append(lengths[first : first + count])
        first += count
    given = None if items_per_sample is None else items_per_sample.tolist()
    check_feature_counts(stretches, item_rows.tolist(), given, token, interrupted=interrupted)
    if rows != sum(lengths):
        raise FeatureCountError(
            f"the tower made {rows} {token} rows, and item_rows counts {sum(lengths)}: it does not fit the tower"
        )
