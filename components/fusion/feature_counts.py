"""Do the features fit the placeholders, per sample and per item? Checked before anything is placed.

Plain Python on small integers: the caller brings the counts to the host.
"""

from collections.abc import Sequence
from itertools import accumulate


class FeatureCountError(ValueError):
    """Features and placeholders differ in number, or an item's rows would be torn apart."""


def check_feature_counts(
    placeholders: Sequence[Sequence[int]],
    item_rows: Sequence[int],
    items_per_sample: Sequence[int] | None,
    token: str,
    *,
    interrupted: bool = False,
) -> None:
    """Items fill placeholders in batch-major order, each one consecutive placeholders of one sample.

    Args:
        placeholders: for each sample, the lengths of its stretches of consecutive placeholders, in order.
        item_rows: feature rows of each item (image), in batch-major order.
        items_per_sample: how many items belong to each sample; None: items are dealt out in order, each sample
            taking as many as its placeholders hold.
        token: name of the placeholder token, for the message.
        interrupted: text may stand between the rows of an item; it still ends where a stretch of placeholders does.

    Raises:
        FeatureCountError: names the first sample that does not fit and both counts.
    """
    if items_per_sample is None:
        shares = _dealt(placeholders, item_rows)
    else:
        if len(items_per_sample) != len(placeholders) or sum(items_per_sample) != len(item_rows):
            raise FeatureCountError(
                f"{token}s_per_sample {list(items_per_sample)} does not add up: the batch has "
                f"{len(placeholders)} samples and {len(item_rows)} items"
            )
        ends = list(accumulate(items_per_sample))
        shares = [list(item_rows[end - count : end]) for end, count in zip(ends, items_per_sample, strict=True)]
    for sample, (stretches, rows) in enumerate(zip(placeholders, shares, strict=True)):
        _check_sample(sample, stretches, rows, token, interrupted=interrupted)
    left = len(item_rows) - sum(map(len, shares))
    if left:
        raise FeatureCountError(
            f"sample {len(placeholders) - 1}: its {sum(placeholders[-1])} {token} placeholders are filled, and {left} "
            f"more {token} items ({sum(item_rows[-left:])} feature rows) are left over"
        )


def _dealt(placeholders: Sequence[Sequence[int]], item_rows: Sequence[int]) -> list[list[int]]:
    shares: list[list[int]] = []
    waiting = list(item_rows)
    for stretches in placeholders:
        share: list[int] = []
        while waiting and sum(share) < sum(stretches):
            share.append(waiting.pop(0))
        shares.append(share)
    return shares


def _check_sample(sample: int, stretches: Sequence[int], rows: Sequence[int], token: str, *, interrupted: bool) -> None:
    if sum(stretches) != sum(rows):
        raise FeatureCountError(
            f"sample {sample}: {sum(stretches)} {token} placeholders, but {sum(rows)} feature rows "
            f"(of {len(rows)} {token} items)"
        )
    ends, item_ends = set(accumulate(stretches)), set(accumulate(rows))
    if interrupted:
        if item_ends - ends:
            raise FeatureCountError(
                f"sample {sample}: {token} placeholders stand in stretches of {list(stretches)}, but the items have "
                f"{list(rows)} feature rows: an item would end within a stretch"
            )
    elif ends - item_ends:
        raise FeatureCountError(
            f"sample {sample}: {token} placeholders stand in stretches of {list(stretches)}, but the items have "
            f"{list(rows)} feature rows: an item would not fill consecutive placeholders"
        )
