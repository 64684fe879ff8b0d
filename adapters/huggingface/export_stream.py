"""Values on their way from the ranks that have them to the one that writes, in the order of the file."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from adapters.huggingface.export_plan import Held, Planned
from adapters.huggingface.ranks import Ranks
from adapters.huggingface.stored_matrix import Matrix, Place

BLOCK_BYTES = 4 * 2**20


class Stream:
    """One file's values. All ranks go through it at once; on rank 0 it yields them, elsewhere it sends.

    Whatever fails on one rank, the others get as many bytes as they wait for; the failure is raised at the end.
    """

    def __init__(self, ranks: Ranks, tensors: Iterable[Planned], held: Held) -> None:
        self.ranks, self.held = ranks, held
        self.failure: Exception | None = None
        self._blocks = self._walk(tensors)

    def __iter__(self) -> Iterator[Tensor]:
        """[bytes] uint8 on the CPU, one block after another; nothing but on rank 0."""
        return self._blocks

    @contextmanager
    def draining(self) -> Iterator["Stream"]:
        """For the length of a block that reads some of it; the rest is taken from the ranks that send it.

        Raises:
            Exception: what failed in the block or here, after that.
        """
        try:
            yield self
        except Exception as error:  # noqa: BLE001 (raised below)
            self.failure = self.failure or error
        for _ in self._blocks:
            pass
        if self.failure is not None:
            raise self.failure

    def _walk(self, tensors: Iterable[Planned]) -> Iterator[Tensor]:
        for tensor in tensors:
            matrix = Matrix.of(tensor.shape)
            for strip in tensor.strips():
                lines = strip[0][0]
                for block in matrix.blocks(lines.first, lines.last, BLOCK_BYTES // tensor.dtype.itemsize):
                    if self.ranks.rank == 0:
                        yield self._taken(tensor, strip, *block)
                    else:
                        self._give(tensor, strip, *block)

    def _give(self, tensor: Planned, strip: tuple[tuple[Place, int], ...], first: int, last: int) -> None:
        for place, rank in strip:
            if rank == self.ranks.rank:
                self.ranks.send(self._own(tensor, place, first, last))

    def _taken(self, tensor: Planned, strip: tuple[tuple[Place, int], ...], first: int, last: int) -> Tensor:
        """Whole lines, from one rank, or side by side from several."""
        width = tensor.dtype.itemsize
        if len(strip) == 1:
            return self._part(tensor, *strip[0], first, last)
        lines = torch.empty(last - first, strip[-1][0].right * width, dtype=torch.uint8)
        for place, rank in strip:
            part = self._part(tensor, place, rank, first, last)
            lines[:, place.left * width : place.right * width] = part.view(last - first, -1)
        return lines.view(-1)

    def _part(self, tensor: Planned, place: Place, rank: int, first: int, last: int) -> Tensor:
        if rank == self.ranks.rank:
            return self._own(tensor, place, first, last)
        return self.ranks.receive(rank, _size(tensor, place, first, last))

    def _own(self, tensor: Planned, place: Place, first: int, last: int) -> Tensor:
        try:
            part = self.held[tensor.name][place][first - place.first : last - place.first]
            return part.detach().to("cpu").contiguous().view(-1).view(torch.uint8)
        except Exception as error:  # noqa: BLE001 (raised when all is sent)
            self.failure = self.failure or error
            return torch.zeros(_size(tensor, place, first, last), dtype=torch.uint8)


def _size(tensor: Planned, place: Place, first: int, last: int) -> int:
    return (last - first) * (place.right - place.left) * tensor.dtype.itemsize
