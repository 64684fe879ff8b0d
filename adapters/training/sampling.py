"""Which samples come next: every sample once an epoch, in an order given by the seed."""

from collections.abc import Iterator, Sequence

import torch

from adapters.training.samples import JsonlSamples, Sample


def endless_groups(samples: JsonlSamples, size: int, seed: int) -> Iterator[Sequence[Sample]]:
    """Yield groups of `size` samples for ever; a group may span two epochs."""
    generator = torch.Generator().manual_seed(seed)
    group: list[Sample] = []
    while True:
        for index in torch.randperm(len(samples), generator=generator).tolist():
            group.append(samples[index])
            if len(group) == size:
                yield group
                group = []
