"""Times of one model and job on one hardware; what executions have in common is computed once."""

from functools import cached_property
from typing import Any

from attrs import define, field

from composer.plans.costs import Counts
from composer.plans.execution import Execution
from composer.plans.hardware import Hardware
from composer.plans.job import Job
from composer.plans.layout import Layout
from composer.plans.model import PlannedModel
from composer.plans.placement import place
from composer.plans.time.block import BlockTime, Gradients, again, block_flops, block_time
from composer.plans.time.encoders import encoder_flops, encoder_time, passes_of
from composer.plans.time.layers import Layers
from composer.plans.time.network import Groups, Links
from composer.plans.time.operation import Rates
from composer.plans.time.setting import setting_of
from composer.plans.time.sharing import HOOK_LAUNCHES, accumulated_bytes
from composer.plans.time.stages import Blocks, Pipeline
from composer.plans.time.trained import Trained, of_ends, trained_on_rank, trained_shares


@define(slots=False, eq=False)
class Clock:
    """Asked for executions, one after the other."""

    model: PlannedModel
    job: Job
    hardware: Hardware
    _blocks: dict[tuple[Any, ...], Blocks] = field(factory=dict, init=False)
    _pipelines: dict[tuple[Any, ...], Pipeline] = field(factory=dict, init=False)
    _groups: dict[tuple[Any, ...], Groups] = field(factory=dict, init=False)
    _ranks: dict[tuple[Any, ...], tuple[Trained, ...]] = field(factory=dict, init=False)

    @cached_property
    def rates(self) -> Rates:
        """Of one GPU."""
        return Rates.of(self.hardware, self.job.precision)

    @cached_property
    def links(self) -> Links:
        """Between GPUs."""
        return Links.of(self.hardware)

    @cached_property
    def hidden_size(self) -> int:
        """Width of the residual stream: of a row of the embedding table."""
        tables = (each for each in self.model.inventory.parameters if each.part == "embeddings")
        return next(tables).shape[-1]

    @cached_property
    def gathered(self) -> tuple[int, float]:
        """What ZeRO-3 gathers in a pass: elements, and seconds of the host."""
        found = self.model.inventory
        return found.total, len(found.parameters) * HOOK_LAUNCHES * self.rates.launch

    def groups(self, execution: Execution) -> Groups:
        """Where its messages travel."""
        layout = execution.layout
        key = (execution.gpus, layout.pp, *_split(layout))
        if key not in self._groups:
            self._groups[key] = Groups.of(execution, self.hardware.node_gpus)
        return self._groups[key]

    def blocks(self, execution: Execution) -> Blocks:
        """Times of layers, towers and ends for one micro-batch."""
        layout = execution.layout
        key = (*_split(layout), layout.recompute, layout.recompute_modules, execution.micro_batch)
        if key not in self._blocks:
            self._blocks[key] = self._new_blocks(execution)
        return self._blocks[key]

    def pipeline(self, execution: Execution) -> Pipeline:
        """Times of ranks for one micro-batch."""
        layout = execution.layout
        key = (layout, execution.micro_batch)
        if key not in self._pipelines:
            self._pipelines[key] = Pipeline.of(self.blocks(execution), layout, self.model.decoder_node)
        return self._pipelines[key]

    def trained(self, layout: Layout) -> tuple[Trained, ...]:
        """What trains on each pipeline rank; a tied head trains a copy of the embeddings."""
        placed = (layout.pp, layout.virtual_stages, layout.first_stage_layers, layout.last_stage_layers)
        key = (*_split(layout), *placed)
        if key not in self._ranks:
            self._ranks[key] = self._new_ranks(layout)
        return self._ranks[key]

    def trained_in_all(self, layout: Layout) -> Trained:
        """What trains on all pipeline ranks together."""
        sorts, first, last, _ = self._trained_parts(layout)
        return sum((each * count for each, count in zip(sorts, self.layers.in_all, strict=True)), first + last)

    @cached_property
    def sample_flops(self) -> float:
        """FLOPs that the model asks for on one sample, forward and backward."""
        setting = setting_of(self.model, self.job, Layout(), 1)
        decoder, (before, behind) = self.model.decoder, self._end_gradients
        total = block_flops(decoder.embedding(setting), before) + block_flops(decoder.head(setting), behind)
        for sort, count in zip(self.layers.sorts, self.layers.in_all, strict=True):
            total += count * block_flops(decoder.layer(sort.kind, setting), sort.own)
        for costs in self.model.inventory.encoders:
            total += encoder_flops(costs, self._passes[costs.node], self.job)
        return total

    @cached_property
    def _passes(self) -> dict[str, Any]:
        return passes_of(self.model)

    @cached_property
    def layers(self) -> Layers:
        """Of the decoder, by sort."""
        return Layers.of(self.model)

    @cached_property
    def _end_gradients(self) -> tuple[Gradients, Gradients]:
        """Of embedding and head. A tied head trains as the embeddings do."""
        before, behind = of_ends(self.model)
        shares, last = dict(trained_shares(before)), dict(trained_shares(behind))
        if self.model.inventory.tied:
            last["head"] = shares.get("embeddings", 0.0)
        start = self.model.trains_from
        flows = any(last.values()) or start is not None
        return Gradients(start == 0, tuple(shares.items())), Gradients(flows, tuple(last.items()))

    def _new_blocks(self, execution: Execution) -> Blocks:
        layout, decoder = execution.layout, self.model.decoder
        setting = setting_of(self.model, self.job, layout, execution.micro_batch)
        groups, recomputed = self.groups(execution), again(layout)
        trained, first, last, _ = self._trained_parts(layout)
        before, behind = self._end_gradients

        def timed(costs: Counts, gradients: Gradients, parts: frozenset[str] | None = frozenset()) -> BlockTime:
            return block_time(costs, gradients, parts, self.rates, self.links, groups)

        own, carried = [], []
        for sort, share in zip(self.layers.sorts, trained, strict=True):
            costs, adding = decoder.layer(sort.kind, setting), self._accumulating(share)
            own.append(timed(costs, sort.own, recomputed) + adding)
            same = sort.own == sort.carried
            carried.append(own[-1] if same else timed(costs, sort.carried, recomputed) + adding)
        encoders = {
            costs.node: encoder_time(costs, self._passes[costs.node], self.job, execution, self.rates)
            for costs in self.model.inventory.encoders
        }
        return Blocks(
            layers=self.layers,
            own=tuple(own),
            carried=tuple(carried),
            encoders=encoders,
            embedding=timed(decoder.embedding(setting), before) + self._accumulating(first),
            head=timed(decoder.head(setting), behind) + self._accumulating(last),
            stage=timed(decoder.stage(setting), Gradients(flows=False)),
        )

    def _accumulating(self, trained: Trained) -> BlockTime:
        """Adding a micro-batch's gradients to the sum."""
        return BlockTime(compute=trained.elements * accumulated_bytes(self.job.element) / self.rates.memory)

    def _trained_parts(self, layout: Layout) -> tuple[list[Trained], Trained, Trained, Trained]:
        """Of a layer of each sort, before the layers, behind them, and the copy of embeddings that a tied head has."""
        key = ("parts", *_split(layout))
        if key not in self._ranks:
            before, behind = of_ends(self.model)
            layers = [trained_on_rank(sort.tallies, layout) for sort in self.layers.sorts]
            tied = [tally for tally in before if tally.part == "embeddings"] if self.model.inventory.tied else []
            ends = [trained_on_rank(tallies, layout) for tallies in (before, behind, tied)]
            self._ranks[key] = (*layers, *ends)
        *layers, first, last, copy = self._ranks[key]
        return layers, first, last, copy

    def _new_ranks(self, layout: Layout) -> tuple[Trained, ...]:
        sorts, first, last, copy = self._trained_parts(layout)
        ranks = [Trained() for _ in range(layout.pp)]
        ranks[0] += first
        ranks[-1] += last + copy if layout.pp > 1 else last
        for chunk in place(len(self.model.decoder.kinds), layout):
            for each, count in zip(sorts, self.layers.within(chunk.layers), strict=True):
                ranks[chunk.rank] += each * count
        return tuple(ranks)


def _split(layout: Layout) -> tuple[int, int, int, int, bool]:
    """What of a layout decides a rank's share of a layer."""
    return layout.tp, layout.cp, layout.ep, layout.etp, layout.sequence_parallel
