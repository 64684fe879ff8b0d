"""The composed model in Megatron-LM's own loop: what `megatron.training.pretrain` wants from a model's author.

Legend: B batch, S sequence, H hidden.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.datasets import utils as dataset_utils
from megatron.core.rerun_state_machine import get_rerun_state_machine
from megatron.training import get_args, get_timers
from torch import Tensor, nn

from adapters.huggingface.import_weights import import_weights
from adapters.megatron import ComposedConfig, ComposedModel, build, cpu_pretrain
from adapters.megatron.arguments import ArgumentError
from adapters.megatron.command_line import megatron_arguments, run_settings
from adapters.training.collator import Batch
from components.build_error import BuildError
from composer import Graph, load
from composer.plans.idle import may_be_idle
from composer.plans.layout import Layout

__all__ = ["data_provider", "forward_step", "megatron_arguments", "model_provider"]

MicroBatch = Batch | Mapping[str, Any]
"""Of `adapters.training`, or keyword arguments of `ComposedModel.forward` with `labels` and `loss_mask` [B, S]."""


def model_provider(
    graph_or_spec: Graph | str | Path, *, weights: str | Path | None = None, **overrides: Any
) -> Callable[..., ComposedModel]:
    """The function that `pretrain` calls for each stage of the model.

    Args:
        graph_or_spec: a graph, or the path of a spec.
        weights: a Hugging Face checkpoint that every rank reads its own part of; None: fresh weights.
        overrides: fields of TransformerConfig; they win over the command line.

    Returns:
        `provider(pre_process=True, post_process=True, vp_stage=None, config=None, pg_collection=None)`. It raises
        BuildError where the command line contradicts the spec, or the layout cannot run the model.

    Raises:
        SpecError: the spec has problems.
    """
    graph = graph_or_spec if isinstance(graph_or_spec, Graph) else load(graph_or_spec)
    graph.check()

    def provider(
        pre_process: bool = True,
        post_process: bool = True,
        vp_stage: int | None = None,
        config: Any = None,
        pg_collection: Any = None,
    ) -> ComposedModel:
        _check_groups(pg_collection)
        place = {"pre_process": pre_process, "post_process": post_process, "vp_stage": vp_stage}
        if isinstance(config, ComposedConfig):
            model = ComposedModel(config, **place)
        elif config is not None:
            raise BuildError(f"a {type(config).__name__} was given, which has no graph: leave it to the provider")
        else:
            args: Any = get_args()
            _check_overlap(args, graph)
            settings = run_settings(args, graph) | overrides
            model = build(graph, dtype=args.params_dtype, **place, **settings)
        if weights is not None:
            import_weights(model, weights)
        return model

    return provider


def data_provider(train: Callable[[], Iterator[MicroBatch]]) -> Callable[..., tuple[Any, None, None]]:
    """Training data for `pretrain` with `--dataloader-type external --eval-iters 0`.

    Args:
        train: makes this rank's endless iterator of micro-batches, the same on the tensor-parallel ranks and pipeline
            stages that work on one; called again for each virtual stage.
    """

    def provider(_samples: Any, vp_stage: int | None = None) -> tuple[Any, None, None]:
        del vp_stage
        return train(), None, None

    provider.is_distributed = True  # type: ignore[attr-defined]  # every rank reads, nothing is broadcast
    return provider


def forward_step(data_iterator: Iterator[MicroBatch], model: nn.Module) -> tuple[Tensor, Any]:
    """One micro-batch through one stage, as Megatron-Core's schedules call it.

    Returns:
        The stage's tensor, and the function that makes a loss of the last stage's: unreduced losses [B, S] to their
        sum, the number of learned tokens, and both for the log.

    Raises:
        ArgumentError: pipeline stages, and a micro-batch that is not [micro_batch_size, seq_length].
    """
    timers: Any = get_timers()
    timers("batch-generator", log_level=2).start()
    batch = _arguments(next(data_iterator))
    _check_shape(batch["labels"])
    timers("batch-generator").stop()
    output, loss_mask = model(**batch)
    return output, partial(_loss, loss_mask)


def _loss(loss_mask: Tensor, losses: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    args: Any = get_args()
    total, tokens = (losses * loss_mask).sum(), loss_mask.sum()
    if args.check_for_nan_in_loss_and_grad:
        get_rerun_state_machine().validate_result(
            result=total,
            rejection_func=lambda value: not torch.isfinite(value),
            message="loss of a micro-batch that is not finite",
            tolerance=0.0,
            fatal=True,
        )
    return total, tokens.int(), {"lm loss": torch.stack((total.detach(), tokens.to(total.dtype)))}


def _arguments(batch: MicroBatch) -> dict[str, Any]:
    device = torch.cuda.current_device()
    if isinstance(batch, Batch):
        return {
            **batch.inputs(device),  # type: ignore[arg-type]  # torch takes the device's number
            "labels": batch.labels.to(device),
            "loss_mask": batch.loss_mask.to(device),
        }
    return {name: value.to(device) if torch.is_tensor(value) else value for name, value in batch.items()}


def _check_shape(labels: Tensor) -> None:
    args: Any = get_args()
    wanted = (args.micro_batch_size, args.seq_length)
    if args.pipeline_model_parallel_size > 1 and tuple(labels.shape) != wanted:
        raise ArgumentError(
            f"a micro-batch is {list(labels.shape)}; between pipeline stages Megatron-LM sends "
            f"[--micro-batch-size, --seq-length] = {list(wanted)}: pad to that"
        )


def _check_groups(groups: Any) -> None:
    if groups is not None and groups.tp is not parallel_state.get_tensor_model_parallel_group():
        raise BuildError(
            "process groups other than those of parallel_state were given; a composed model lives on those"
        )


def _check_overlap(args: Any, graph: Graph) -> None:
    """See `ComposedDataParallel`, which our own loop has in place of Megatron-LM's wrapper.

    Whether every tower will be frozen, and so may be idle, is not known yet: a provider may be wrapped to freeze.
    """
    layout = Layout(tp=args.tensor_model_parallel_size, cp=args.context_parallel_size)
    idle = may_be_idle(graph, layout)
    if args.overlap_grad_reduce and idle:
        raise BuildError(
            "--overlap-grad-reduce: Megatron-LM's wrapper asserts when a tower has nothing to do "
            f"({'; '.join(idle)}). Train with adapters.megatron.schedule.data_parallel, or without "
            "--overlap-grad-reduce"
        )


def _use_compiled_data_helpers() -> None:
    """Megatron-LM compiles its data set index when it starts, by a Makefile that is not in its wheel.

    The wheel holds the compiled module instead.
    """
    if not (Path(dataset_utils.__file__).parent / "Makefile").exists():
        dataset_utils.compile_helpers = lambda: None


cpu_pretrain.host()
_use_compiled_data_helpers()
