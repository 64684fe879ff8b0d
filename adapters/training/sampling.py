"""Which samples come next: every sample once an epoch, in an order given by the seed."""

from collections.abc import Callable, Iterator, Sequence

import torch

from adapters.training.samples import JsonlSamples, Sample

POOL = 16  # groups that are formed together: the more, the less padding, and the less random the order


def endless_groups(
    samples: JsonlSamples, size: int, seed: int, length: Callable[[Sample], int] | None = None
) -> Iterator[Sequence[Sample]]:
    """Yield groups of `size` samples for ever; a group may span two epochs.

    With `length`, samples of about the same length share a group, so that little is padded: `POOL` groups' worth of
    samples are drawn at random, sorted by length, cut into groups, and the groups come in random order.
    """
    generator = torch.Generator().manual_seed(seed)
    order = _endless_order(samples, generator)
    while True:
        if length is None:
            yield [next(order) for _ in range(size)]
            continue
        pool = sorted((next(order) for _ in range(size * POOL)), key=length)
        for group in torch.randperm(POOL, generator=generator).tolist():
            yield pool[group * size : (group + 1) * size]


def _endless_order(samples: JsonlSamples, generator: torch.Generator) -> Iterator[Sample]:
    while True:
        for index in torch.randperm(len(samples), generator=generator).tolist():
            yield samples[index]
