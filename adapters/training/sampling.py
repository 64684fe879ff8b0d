"""Which samples come next: every sample once an epoch, in an order given by the seed."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch

from adapters.training.samples import JsonlSamples, Sample

POOL = 16  # groups that are formed together: the more, the less padding, and the less random the order


def endless_groups(
    samples: JsonlSamples, size: int, seed: int, length: Callable[[Sample], int] | None = None, skip: int = 0
) -> Iterator[Sequence[Sample]]:
    """Yield groups of `size` samples for ever; a group may span two epochs.

    With `length`, samples of about the same length share a group, so that little is padded: `POOL` groups' worth of
    samples are drawn at random, sorted by length, cut into groups, and the groups come in random order.

    The order does not depend on how many processes share a group. The first `skip` groups are left out, at the cost of
    drawing numbers: no sample of theirs is read, but for those that share a pool with the first group.
    """
    generator = torch.Generator().manual_seed(seed)
    order = _endless_order(len(samples), generator)
    if length is None:
        return _plain_groups(samples, size, order, skip)
    return _sorted_groups(samples, size, order, generator, length, skip)


def _plain_groups(samples: JsonlSamples, size: int, order: Iterator[int], skip: int) -> Iterator[Sequence[Sample]]:
    order = islice(order, skip * size, None)
    while True:
        yield [samples[next(order)] for _ in range(size)]


def _sorted_groups(
    samples: JsonlSamples,
    size: int,
    order: Iterator[int],
    generator: torch.Generator,
    length: Callable[[Sample], int],
    skip: int,
) -> Iterator[Sequence[Sample]]:
    while True:
        drawn = list(islice(order, size * POOL))
        groups = torch.randperm(POOL, generator=generator).tolist()
        if skip >= POOL:
            skip -= POOL
            continue
        pool = sorted((samples[index] for index in drawn), key=length)
        for group in groups[skip:]:
            yield pool[group * size : (group + 1) * size]
        skip = 0


def _endless_order(count: int, generator: torch.Generator) -> Iterator[int]:
    while True:
        yield from torch.randperm(count, generator=generator).tolist()
