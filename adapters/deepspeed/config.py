"""DeepSpeed's configuration, from the settings of a training run."""

from typing import Any

from adapters.training.problems import TrainingError
from adapters.training.settings import Training
from composer.plans.layout import Layout

BUCKET = 50_000_000
"""Elements that are communicated at once: 200 MB in fp32, a tenth of DeepSpeed's default."""


def deepspeed_config(settings: Training, data_ranks: int) -> dict[str, Any]:
    """What `deepspeed.initialize` reads; it can be written as JSON.

    Weight decay and learning rate differ by parameter: they are in the parameter groups (`parameter_groups.py`), and
    `lr` is set anew at each step.

    Args:
        settings: of the run, checked.
        data_ranks: over how many ranks a global batch is divided.

    Raises:
        TrainingError: the layout is not one of data parallelism alone, the global batch cannot be divided so, or
            offloading is asked of stage 0.
    """
    if found := zero_findings(settings):
        raise TrainingError([f"{path}: {message}" for path, message in found])
    per_step = settings.micro_batch * data_ranks
    if settings.global_batch % per_step:
        raise TrainingError(
            f"global_batch: {settings.global_batch} is no multiple of {per_step}: micro_batch {settings.micro_batch} "
            f"on each of {data_ranks} ranks."
        )
    bf16 = settings.precision == "bf16"
    return {
        "train_micro_batch_size_per_gpu": settings.micro_batch,
        "gradient_accumulation_steps": settings.global_batch // per_step,
        "gradient_clipping": settings.optimizer.clip,
        "optimizer": _optimizer(settings),
        "zero_optimization": _zero(settings),
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": bf16},
        # Summed over micro-batches and ranks in fp32; DeepSpeed's default is the parameters' type.
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        # Losses and norms are logged by the loop, for every engine alike.
        "steps_per_print": None,
        "wall_clock_breakdown": False,
    }


def _optimizer(settings: Training) -> dict[str, Any]:
    optimizer = settings.optimizer
    return {
        "type": "AdamW",
        "params": {
            "lr": optimizer.lr,
            "betas": [optimizer.beta1, optimizer.beta2],
            "eps": optimizer.eps,
            "weight_decay": optimizer.weight_decay,
            # torch's fused kernels, on every device and for offloaded states: DeepSpeed's own are compiled when first
            # used, which needs a compiler, and CUDA's toolkit, wherever the job runs.
            "torch_adam": True,
            "fused": True,
        },
    }


def _zero(settings: Training) -> dict[str, Any]:
    zero: dict[str, Any] = {
        "stage": settings.zero.stage,
        "overlap_comm": settings.overlap,
        "reduce_bucket_size": BUCKET,
        "allgather_bucket_size": BUCKET,
        "stage3_prefetch_bucket_size": BUCKET,
    }
    if settings.zero.offload:
        zero["offload_optimizer"] = {"device": "cpu"}
    return zero


def zero_findings(settings: Training) -> list[tuple[str, str]]:
    """What DeepSpeed cannot do of a run's settings: (path, message) each."""
    found = []
    if (problem := layout_problem(settings.layout)) is not None:
        found.append(("layout", problem))
    if settings.zero.offload and settings.zero.stage == 0:
        found.append(("zero.offload", "moves to the CPU what ZeRO shares out: set zero.stage to 1, 2 or 3."))
    if settings.precision == "bf16" and settings.zero.stage == 0:
        found.append(("zero.stage", "with bf16, gradients are summed in fp32 from stage 1 on: set zero.stage to 1."))
    if settings.checkpoints.asynchronous:
        found.append(("checkpoints.asynchronous", "is Megatron-Core's: DeepSpeed's checkpoints are written at once."))
    return found


def layout_problem(layout: Layout) -> str | None:
    """Why ZeRO, which divides data only, cannot run a layout, and which command can."""
    sizes = {"tp": layout.tp, "pp": layout.pp, "cp": layout.cp, "ep": layout.ep, "etp": layout.etp}
    split = {name: size for name, size in sizes.items() if size > 1}
    if layout.virtual_stages > 1:
        split["virtual_stages"] = layout.virtual_stages
    if not split:
        return None
    ranks = layout.model_ranks * layout.fewest_data_ranks
    asked = ", ".join(f"{name} {size}" for name, size in split.items())
    flags = " ".join(f"--{name.replace('_', '-')} {size}" for name, size in split.items())
    return (
        f"{asked}: with `engine: deepspeed` every rank runs the whole model; ZeRO shares out optimizer, gradients and "
        "parameters, and knows no tensor, pipeline, context or expert parallelism. Megatron-Core can: "
        f"vlm-composer train SPEC SETTINGS DATA --engine megatron --nproc {ranks} {flags}"
    )


def expert_warning(stage: int, num_experts: int) -> str | None:
    """What someone should know who asks for ZeRO-3 with experts."""
    if stage < 3 or num_experts == 0:
        return None
    return (
        f"ZeRO-3 gathers all {num_experts} experts of every layer on every rank, for each micro-batch, though a token "
        "uses a few: fine-grained mixtures train about ten times slower so than with Megatron-Core's expert "
        "parallelism (--engine megatron --ep …)."
    )
