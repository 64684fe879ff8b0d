"""A plan's execution in the words of Megatron-LM's command line, for `pretrain` with `adapters.megatron.provider`.

What the model is comes from the graph (`provider.megatron_arguments`); learning rate, steps and what else decides the
training's course is the user's. Read from `megatron/training/arguments.py` and `megatron/core/transformer/
transformer_config.py` (megatron-core 0.19).
"""

from attrs import frozen

from composer.graph import Graph
from composer.plans.idle import may_be_idle
from composer.plans.layout import Layout
from composer.plans.placement import place
from composer.plans.plan_file import ParallelPlan


@frozen
class Argument:
    """One argument: its words, none with a blank, quote or `#` in it, and why it is there if that is not plain.

    left_out: it belongs to the plan, but Megatron-LM cannot have it; `why` says why.
    """

    words: tuple[str, ...]
    why: str = ""
    left_out: bool = False


def execution_arguments(plan: ParallelPlan, graph: Graph) -> list[Argument]:
    """Every argument of a plan's execution.

    Args:
        plan: one for `engine: megatron`.
        graph: that the plan is for.
    """
    execution, job = plan.execution, plan.job
    wrapper = [Argument(("--use-distributed-optimizer",))] if execution.distributed_optimizer else []
    if execution.overlap:
        wrapper += _overlap(graph, execution.layout, sharded=execution.distributed_optimizer)
    return [
        *_layout(execution.layout),
        *_stages(execution.layout, graph.decoder().config.config.num_layers),
        *_experts(plan, graph),
        _valued("--micro-batch-size", execution.micro_batch),
        _valued("--global-batch-size", job.global_batch),
        _valued("--seq-length", job.seq),
        *([Argument(("--bf16",))] if job.precision == "bf16" else []),
        _valued("--transformer-impl", job.implementation),
        Argument(("--no-gradient-accumulation-fusion",), "as in the plan, and no need of Apex"),
        Argument(("--attention-softmax-in-fp32",), "as in vlm-composer's own engine"),
        *wrapper,
        Argument(("--calculate-per-token-loss",), "else the loss depends on the micro-batch, which a plan may choose"),
        Argument(("--dataloader-type", "external"), "the provider's data"),
        Argument(("--eval-iters", "0"), "it has none to evaluate on"),
    ]


def _layout(layout: Layout) -> list[Argument]:
    found = [
        _valued("--tensor-model-parallel-size", layout.tp),
        _valued("--pipeline-model-parallel-size", layout.pp),
        _valued("--context-parallel-size", layout.cp),
    ]
    if layout.sequence_parallel:
        found.append(Argument(("--sequence-parallel",)))
    if layout.recompute == "full":
        found.append(Argument(("--recompute-granularity", "full")))
        found.append(Argument(("--recompute-method", "uniform")))
        found.append(_valued("--recompute-num-layers", 1))
    elif layout.recompute == "selective":
        found.append(Argument(("--recompute-granularity", "selective")))
        if layout.recompute_modules:
            found.append(Argument(("--recompute-modules", *layout.recompute_modules)))
    return found


def _stages(layout: Layout, num_layers: int) -> list[Argument]:
    """Which layers stand where. In Megatron-LM's letters E embeds, t is a layer of the decoder, L the loss."""
    if layout.first_stage_layers is None and layout.last_stage_layers is None:
        virtual = layout.virtual_stages
        return [_valued("--num-virtual-stages-per-pipeline-rank", virtual)] if virtual > 1 else []
    stages = ["E" * chunk.first + "t" * len(chunk.layers) + "L" * chunk.last for chunk in place(num_layers, layout)]
    return [_valued("--pipeline-model-parallel-layout", "|".join(stages))]


def _experts(plan: ParallelPlan, graph: Graph) -> list[Argument]:
    from components.language.gpt_declaration import has_experts

    if not has_experts(graph.decoder().config):
        return []
    layout = plan.execution.layout
    found = [
        _valued("--expert-model-parallel-size", layout.ep),
        Argument(("--expert-tensor-parallel-size", str(layout.etp)), "else as many as tensor-parallel ranks"),
    ]
    if plan.job.implementation == "transformer_engine":
        found.append(Argument(("--moe-grouped-gemm",)))
    return found


def _overlap(graph: Graph, layout: Layout, *, sharded: bool) -> list[Argument]:
    names = ["--overlap-grad-reduce", *(["--overlap-param-gather"] if sharded else [])]
    idle = may_be_idle(graph, layout)
    why = f"Megatron-LM's wrapper asserts when a tower has nothing to do ({'; '.join(idle)})" if idle else ""
    return [Argument((name,), why, left_out=bool(idle)) for name in names]


def _valued(flag: str, value: object) -> Argument:
    return Argument((flag, str(value)))
