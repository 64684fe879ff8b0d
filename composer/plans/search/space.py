"""Which executions a search considers: the space is written down here, and nothing outside it is tried.

tensor parallelism: powers of two within a node. Pipeline: divisors of the GPUs, with the layers dealt out evenly, or
with fewer, or none, on the first rank (which embeds and encodes: towers may have a rank of their own), on the last
(which makes logits), or on both. Virtual stages:
divisors of the layers of every rank. Context parallelism: powers of two. Expert parallelism: divisors of the number of
experts; an expert stays whole or is split as the other layers are. Micro-batch: powers of two. Recomputation: none, of
core attention, of whole layers. Sequence parallelism: with experts always, else with and without. Distributed
optimizer: with and without. Communication overlaps compute wherever there are data-parallel ranks. DeepSpeed: ZeRO 0
to 3 over data-parallel ranks alone, with and without offload of the optimizer.
"""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Literal

from attrs import evolve, frozen

from composer.plans.costs import DecoderCosts
from composer.plans.execution import Execution
from composer.plans.hardware import Hardware
from composer.plans.job import Job
from composer.plans.layout import Layout, Zero
from composer.plans.splits import EVEN, Splits, splits

Recompute = Literal["none", "selective", "full"]
RECOMPUTE: tuple[Recompute, ...] = ("none", "selective", "full")
ZERO_STAGES: tuple[Literal[0, 1, 2, 3], ...] = (0, 1, 2, 3)
LARGEST_MICRO_BATCH = 64


@frozen
class Space:
    """Bounds of a search; an empty tuple: everything the space holds."""

    tp: tuple[int, ...] = ()
    pp: tuple[int, ...] = ()
    virtual_stages: tuple[int, ...] = ()
    cp: tuple[int, ...] = ()
    ep: tuple[int, ...] = ()
    etp: tuple[int, ...] = ()
    micro_batch: tuple[int, ...] = ()
    recompute: tuple[str, ...] = ()
    engines: tuple[str, ...] = ("megatron", "deepspeed")


@frozen(eq=False)
class Frame:
    """Executions that differ only in how layers are dealt out, in virtual stages and in who holds optimizer state."""

    execution: Execution
    """Without any of these, as a frame's lower bounds are computed from it."""
    splits: Splits
    shares: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.splits.ways) * len(self.shares)

    def executions(self) -> Iterator[Execution]:
        """Every one."""
        for first, last, virtual in self.splits.ways:
            layout = self.execution.layout
            if (first, last, virtual) != EVEN:
                layout = evolve(layout, virtual_stages=virtual, first_stage_layers=first, last_stage_layers=last)
            for shared in self.shares:
                yield evolve(self.execution, layout=layout, distributed_optimizer=shared)


def frames(
    space: Space, decoder: DecoderCosts, job: Job, hardware: Hardware, fallen: Counter[str] | None = None
) -> Iterator[Frame]:
    """Every execution of the space that the engines accept, in frames.

    Args:
        space: bounds.
        decoder: says which layouts it cannot run in.
        job: GPUs, sequence length and global batch.
        hardware: size of a node.
        fallen: counts layouts that were not accepted, by reason.
    """
    fallen = Counter() if fallen is None else fallen
    if "megatron" in space.engines:
        yield from _megatron(space, decoder, job, hardware, fallen)
    alone = (space.pp, space.virtual_stages, space.tp, space.cp, space.ep, space.etp)
    if "deepspeed" in space.engines and _within(1, *alone):
        yield from _deepspeed(space, job)


def _megatron(
    space: Space, decoder: DecoderCosts, job: Job, hardware: Hardware, fallen: Counter[str]
) -> Iterator[Frame]:
    for layout in layouts(space, decoder, job, hardware, fallen):
        ranks = job.gpus // layout.model_ranks
        shares = (False, True) if ranks * layout.cp > 1 else (False,)
        ways = [_recomputing(layout, each) for each in RECOMPUTE if not space.recompute or each in space.recompute]
        for size in _chosen(space.micro_batch, powers(LARGEST_MICRO_BATCH)):
            if job.global_batch % (size * ranks):
                continue
            # Interleaved schedules take micro-batches in groups as large as the pipeline.
            grouped = job.global_batch % (size * ranks * layout.pp) == 0
            fitting = splits(len(decoder.kinds), layout.pp, space.virtual_stages, grouped=grouped)
            for way in ways if fitting.ways else ():
                yield Frame(Execution(job.gpus, way, size, overlap=ranks > 1), fitting, shares)


@cache
def _recomputing(layout: Layout, recompute: Recompute) -> Layout:
    return layout if recompute == "none" else evolve(layout, recompute=recompute)


def layouts(
    space: Space, decoder: DecoderCosts, job: Job, hardware: Hardware, fallen: Counter[str]
) -> Iterator[Layout]:
    """Layouts, layers dealt out evenly and nothing recomputed, that the decoder can run in and that divide the GPUs."""
    for tp in _chosen(space.tp, powers(min(hardware.node_gpus, job.gpus))):
        for cp in _chosen(space.cp, powers(job.gpus // tp)):
            if job.gpus % (tp * cp):
                continue
            for experts in expert_layouts(space, decoder, job, tp, cp, fallen):
                for pp in _chosen(space.pp, divisors(job.gpus // (tp * cp))):
                    if (job.gpus // pp) % (experts.ep * experts.etp):
                        fallen["experts do not divide the GPUs of a pipeline rank"] += 1
                    elif not splits(len(decoder.kinds), pp, (), grouped=True).ways:
                        fallen["more pipeline ranks than layers"] += 1
                    else:
                        yield experts if pp == 1 else evolve(experts, pp=pp)


def expert_layouts(
    space: Space, decoder: DecoderCosts, job: Job, tp: int, cp: int, fallen: Counter[str]
) -> Iterator[Layout]:
    """What ranks of one pipeline stage can look like."""
    counts = _chosen(space.ep, divisors(decoder.num_experts) if decoder.num_experts else (1,))
    widths = _chosen(space.etp, tuple(sorted({1, tp})) if decoder.num_experts else (1,))
    sequence = (tp > 1,) if decoder.num_experts or tp == 1 else (True, False)
    for ep, etp, parallel in product(counts, widths, sequence):
        if ep * etp > job.gpus:
            continue
        layout = Layout(tp=tp, cp=cp, ep=ep, etp=etp, sequence_parallel=parallel)
        reasons = [*decoder.misfits(layout), *_sequence_misfits(layout, job.seq)]
        if reasons:
            fallen[reasons[0]] += 1
        else:
            yield layout


def _sequence_misfits(layout: Layout, seq: int) -> list[str]:
    multiple = (layout.tp if layout.sequence_parallel else 1) * (2 * layout.cp if layout.cp > 1 else 1)
    return [f"sequences of {seq} tokens are no multiple of {multiple}"] if seq % multiple else []


def _deepspeed(space: Space, job: Job) -> Iterator[Frame]:
    ways: tuple[Recompute, ...] = tuple(each for each in RECOMPUTE if not space.recompute or each in space.recompute)
    for size in _chosen(space.micro_batch, powers(LARGEST_MICRO_BATCH)):
        if job.global_batch % (size * job.gpus):
            continue
        for recompute, stage, offload in product(ways, ZERO_STAGES, (False, True)):
            if stage or not offload:
                layout, zero = Layout(recompute=recompute), Zero(stage=stage, offload=offload)
                alone = Execution(job.gpus, layout, size, engine="deepspeed", zero=zero)
                yield Frame(alone, Splits((EVEN,)), (False,))


def strays(space: Space, decoder: DecoderCosts, job: Job, hardware: Hardware) -> list[str]:
    """Bounds that name sizes which the space does not hold, each with those it does."""
    held = {
        "tp": powers(min(hardware.node_gpus, job.gpus)),
        "pp": divisors(job.gpus),
        "cp": powers(job.gpus),
        "ep": divisors(decoder.num_experts) if decoder.num_experts else (1,),
        "micro_batch": powers(LARGEST_MICRO_BATCH),
    }
    return [
        f"--{name.replace('_', '-')} {size}: is not in the space, which has {', '.join(map(str, sizes))}."
        for name, sizes in held.items()
        for size in getattr(space, name)
        if size not in sizes
    ]


def powers(limit: int) -> tuple[int, ...]:
    """1, 2, 4, … up to `limit`."""
    return tuple(2**exponent for exponent in range(max(limit, 1).bit_length()))


@cache
def divisors(number: int) -> tuple[int, ...]:
    """All of them, ascending."""
    return tuple(each for each in range(1, number + 1) if number % each == 0)


def _chosen(asked: tuple[int, ...], there: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(each for each in there if not asked or each in asked)


def _within(value: int, *bounds: tuple[int, ...]) -> bool:
    return all(not bound or value in bound for bound in bounds)
