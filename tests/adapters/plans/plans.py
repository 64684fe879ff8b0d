"""Parallel plans as the planner writes them, for the shipped spec; numbers of a size that such jobs have."""

from typing import Any

from attrs import evolve

from composer import Graph, load
from composer.plans.answer import GIB, Estimate, Memory, RankMemory, StepTime
from composer.plans.content import content_hash
from composer.plans.execution import Execution
from composer.plans.hardware import Efficiency, Hardware
from composer.plans.interval import Interval
from composer.plans.job import Job
from composer.plans.layout import Layout, Zero
from composer.plans.plan_file import Frozen, NodeParameters, ParallelPlan, Rejected, Source
from composer.plans.timeline import StageTime
from tests.parity.shipped_spec import SPEC

H100 = Hardware(
    name="H100-SXM-80GB",
    memory_gib=79.6,
    tflops=989,
    fp32_tflops=67,
    memory_gbs=3350,
    node_gpus=8,
    nvlink_gbs=450,
    network_gbs=50,
    latency_us=12,
    launch_us=5,
    reserve_gib=2.5,
    efficiency=Efficiency(gemm=0.7, grouped_gemm=0.45, attention=0.5, elementwise=0.8, network=0.75),
    sources=("datasheet", "measured on one GPU"),
)
JOB = Job(gpus=32, seq=4096, global_batch=256, images=2, image_tokens=256)
PIPELINED = Layout(
    tp=2, pp=4, ep=4, etp=1, sequence_parallel=True, first_stage_layers=6, last_stage_layers=8, recompute="selective"
)
PIPELINED_EXECUTION = Execution(32, PIPELINED, micro_batch=1, distributed_optimizer=True, overlap=True)
INTERLEAVED = Layout(tp=2, pp=2, virtual_stages=5, ep=8, sequence_parallel=True, recompute="full")
INTERLEAVED_EXECUTION = Execution(32, INTERLEAVED, micro_batch=2, distributed_optimizer=True)
ZERO_EXECUTION = Execution(32, micro_batch=1, engine="deepspeed", zero=Zero(2), overlap=True)
DENSE_CONFIG = str(SPEC.parent / "configs" / "gemma4_31b.json")


def shipped() -> Graph:
    """The graph that the plans are of."""
    return load(SPEC)


def estimate(execution: Execution, scale: float = 1.0) -> Estimate:
    """Bytes and seconds in proportion to `scale`."""
    layout = execution.layout
    ranks = tuple(
        RankMemory(rank, _memory(rank, layout.pp, scale), (layout.pp - rank,) * layout.virtual_stages)
        for rank in range(layout.pp)
    )
    time = StepTime(
        nodes={
            "vision_tower": _around(0.42 * scale),
            "embed_vision": _around(0.01 * scale),
            "language_model": _around(3.1 * scale),
        },
        attention=_around(0.61 * scale),
        tensor_parallel=_around(0.33 * scale),
        expert_parallel=_around(0.48 * scale),
        pipeline=_around(0.37 * scale),
        data_parallel=_around(0.12 * scale),
        optimizer=_around(0.05 * scale),
        host=_around(0.02 * scale),
    )
    tokens = JOB.global_batch * JOB.seq
    rate = Interval(tokens / time.total.high, tokens / time.total.likely, tokens / time.total.low)
    return Estimate(execution, ranks, time, rate, Interval(0.19, 0.22, 0.26) * (1 / scale))


def _memory(rank: int, ranks: int, scale: float) -> Memory:
    def gib(value: float) -> int:
        return int(value * scale * GIB)

    first, last = rank == 0, rank == ranks - 1
    return Memory(
        weights=gib(9.4),
        gradients=gib(18.8),
        optimizer=gib(7.1),
        activations=gib(16.0 * (ranks - rank) / ranks + 1.3),
        towers=gib(4.2) if first else 0,
        masks=gib(0.05),
        logits=gib(3.4) if last else 0,
        transient=gib(1.9),
        communication=gib(0.8),
        reserve=int(2.5 * GIB),
    )


def _around(likely: float) -> Interval:
    return Interval(likely * 0.85, likely, likely * 1.2)


def stages(layout: Layout) -> tuple[StageTime, ...]:
    """Uneven ones: the tower stands on the first stage, the head on the last."""
    count = layout.pp * layout.virtual_stages
    return tuple(
        StageTime(rank, virtual, seconds, 2 * seconds)
        for virtual in range(layout.virtual_stages)
        for rank in range(layout.pp)
        for seconds in [
            0.0225 / layout.virtual_stages * (1.15 if virtual * layout.pp + rank in {0, count - 1} else 1.0)
        ]
    )


def plan(execution: Execution = PIPELINED_EXECUTION, graph: Graph | None = None, **changes: Any) -> ParallelPlan:
    """A plan for the shipped spec at 26B-A4B (another graph: name its source too), its tower frozen."""
    job = changes.pop("job", evolve(JOB, gpus=execution.gpus))
    others = (INTERLEAVED_EXECUTION, evolve(PIPELINED_EXECUTION, micro_batch=2))
    made = ParallelPlan(
        plan=1,
        model=Source(spec="gemma4_vl", hash=content_hash(graph or shipped())),
        frozen=Frozen(selectors=("node:vision_tower",)),
        job=job,
        hardware=H100,
        estimate=estimate(execution),
        binding="memory of pipeline rank 0: a micro-batch of 2 needs 3.1 GiB more",
        alternatives=tuple(estimate(other, 1.1 + 0.1 * number) for number, other in enumerate(others)),
        rejected=(
            Rejected("tensor parallelism alone", "tp 8 does not divide 4 key/value heads"),
            Rejected("half the pipeline", "needs 115.6 GiB of 79.6", estimate(INTERLEAVED_EXECUTION, 1.9)),
            Rejected("ZeRO-3", "all <128> experts are gathered & scattered again", estimate(ZERO_EXECUTION, 1.4)),
        ),
        space={"executions": 61244, "looked at one by one": 380, "layouts the engines refuse": 151},
        nodes=(
            NodeParameters("vision_tower", 569_550_000, 0),
            NodeParameters("embed_vision", 3_244_032, 3_244_032),
            NodeParameters("language_model", 25_233_142_046, 25_233_142_046),
        ),
        stages=stages(execution.layout),
    )
    return evolve(made, **changes)
