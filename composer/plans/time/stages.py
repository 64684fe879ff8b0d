"""Seconds of pipeline stages for one micro-batch, and of the slowest rank."""

from collections.abc import Sequence
from functools import cached_property
from operator import mul

from attrs import frozen

from composer.plans.layout import Layout
from composer.plans.placement import Chunk, place
from composer.plans.time.block import BlockTime
from composer.plans.time.interleaved import seconds
from composer.plans.time.layers import Layers


@frozen(slots=False)
class Blocks:
    """Times of everything a micro-batch passes.

    own, carried: of a layer of each sort, on the first pipeline rank and on later ones. encoders: of each tower and
    projector. embedding, head: at the ends. stage: what every stage makes for itself.
    """

    layers: Layers
    own: tuple[BlockTime, ...]
    carried: tuple[BlockTime, ...]
    encoders: dict[str, BlockTime]
    embedding: BlockTime
    head: BlockTime
    stage: BlockTime

    @cached_property
    def _seconds(self) -> tuple[list[float], list[float]]:
        return [block.total for block in self.own], [block.total for block in self.carried]

    @cached_property
    def first(self) -> float:
        """Seconds of what stands before the first layer."""
        return self.embedding.total + sum(encoder.total for encoder in self.encoders.values())

    @cached_property
    def least(self) -> float:
        """Seconds of everything, of which each stage makes what it needs once."""
        return _dot(self.layers.in_all, self._seconds[0]) + self.first + self.head.total

    def seconds(self, chunk: Chunk) -> float:
        """Of one stage."""
        layers = _dot(self.layers.within(chunk.layers), self._seconds[0 if chunk.first else 1])
        return layers + self.stage.total + (self.first if chunk.first else 0) + (self.head.total if chunk.last else 0)

    def parts(self, chunks: list[Chunk], decoder: str) -> tuple[dict[str, float], BlockTime]:
        """Computing of each node, and everything else, of some stages together."""
        nodes, rest, own = {decoder: 0.0}, BlockTime(), BlockTime()
        for chunk in chunks:
            for count, block in zip(
                self.layers.within(chunk.layers), self.own if chunk.first else self.carried, strict=True
            ):
                own += block * count
            own += self.stage
            if chunk.last:
                own += self.head
            if chunk.first:
                own += self.embedding
                for name, block in self.encoders.items():
                    nodes[name] = block.compute
                    rest += block
        nodes[decoder] = own.compute
        return nodes, rest + own


@frozen
class Pipeline:
    """One micro-batch on all pipeline ranks, in seconds.

    stages: of each virtual stage, of each rank. ranks: of each. nodes, rest: computing of each node and everything
    else, on the slowest rank, which the others wait for.
    """

    stages: tuple[tuple[float, ...], ...]
    ranks: tuple[float, ...]
    nodes: dict[str, float]
    rest: BlockTime

    def bubble(self) -> float:
        """Seconds that the slowest rank waits at least while the pipeline fills and drains.

        The first micro-batch passes the other ranks before and after, with virtual stages only one stage of each.
        """
        return (sum(self.ranks) - max(self.ranks)) / len(self.stages)

    def waiting(self, micro_batches: int) -> float:
        """Seconds of a step that the slowest rank does not compute."""
        if len(self.stages) == 1:
            return self.bubble()
        return max(self.bubble(), seconds(self.stages, micro_batches) - micro_batches * max(self.ranks))

    @classmethod
    def of(cls, blocks: Blocks, layout: Layout, decoder: str) -> "Pipeline":
        """Of some blocks in a layout.

        Raises:
            PlacementError: the layers cannot be dealt out so.
        """
        chunks = place(len(blocks.layers), layout)
        stages = [[0.0] * layout.pp for _ in range(layout.virtual_stages)]
        for chunk in chunks:
            stages[chunk.virtual][chunk.rank] = blocks.seconds(chunk)
        ranks = tuple(map(sum, zip(*stages, strict=True)))
        slowest = ranks.index(max(ranks))
        nodes, rest = blocks.parts([chunk for chunk in chunks if chunk.rank == slowest], decoder)
        return cls(tuple(map(tuple, stages)), ranks, nodes, rest)


def _dot(counts: Sequence[int], seconds: Sequence[float]) -> float:
    total: float = sum(map(mul, counts, seconds))
    return total
