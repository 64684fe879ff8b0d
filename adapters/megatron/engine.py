"""Training steps on Megatron-Core: its schedules, data-parallel wrapper and optimizers, in any of its layouts."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.optimizer import MegatronOptimizer

from adapters.megatron import checkpoint, replicas
from adapters.megatron.data_parallel import ComposedDataParallel
from adapters.megatron.layout import sequence_multiple
from adapters.megatron.module import ComposedModel
from adapters.megatron.non_finite import locate
from adapters.megatron.optimizer import apply_gradients, make_optimizer
from adapters.megatron.schedule import MicroBatch, forward_backward
from adapters.training.collator import Batch
from adapters.training.engine import StepResult
from adapters.training.problems import NonFiniteError
from adapters.training.settings import Stage, Training
from adapters.training.stages import RatesOf, check_trained, freeze_all_but
from composer.plans.freeze_file import FreezePlan


class MegatronEngine:
    """`adapters.training.engine.Engine` on Megatron-Core.

    With bf16, gradients are summed in fp32, and the optimizer holds the parameters of a stage in fp32; the next stage
    starts from the bf16 ones.
    """

    def __init__(
        self,
        models: Sequence[ComposedModel],
        settings: Training,
        *,
        bucket_size: int | None = None,
        plan: FreezePlan | None = None,
    ) -> None:
        """Take this rank's stages over.

        Args:
            models: from `adapters.megatron.start.build_stages`, which joins the processes.
            settings: of the run, checked.
            bucket_size: how many parameters' gradients travel together; None: Megatron-Core's choice.
            plan: what trains in each stage; None: as the stages themselves say.
        """
        self.plan = plan
        self._bucket_size = bucket_size
        self.models, self.settings = list(models), settings
        assert models[0].config.graph is not None
        self.graph = models[0].config.graph
        self.data_rank = parallel_state.get_data_parallel_rank()
        self.data_ranks = parallel_state.get_data_parallel_world_size()
        self.sequence_multiple = sequence_multiple(settings.layout)
        self.uniform = settings.layout.pp > 1
        self.stages: list[ComposedDataParallel] = []
        self._optimizer: MegatronOptimizer | None = None

    @property
    def model(self) -> ComposedModel:
        """This rank's first stage."""
        return self.models[0]

    @property
    def optimizer(self) -> MegatronOptimizer:
        """Of the stage that has begun."""
        if self._optimizer is None:
            raise RuntimeError("no stage has begun: call begin_stage first")
        return self._optimizer

    def begin_stage(self, stage: Stage) -> None:
        """Freeze, and make gradient buffers and optimizer anew: they cover what this stage trains and nothing else."""
        replicas.unwrap(self.stages)
        planned = self.plan and self.plan.stage(stage.name)
        check_trained(self.models, self.graph, stage, planned)
        rates: RatesOf = {}
        for model in self.models:
            rates |= freeze_all_but(model, self.graph, stage, planned)
            model.train()
        self.stages = replicas.wrap(self.models, self.settings, self._bucket_size)
        self._optimizer = make_optimizer(self.stages, self.settings, self.graph, rates)

    def step(self, batches: Sequence[Batch], lr: float) -> StepResult:
        """See `Engine.step`; all micro-batches of one shape if `uniform`."""
        self.optimizer.zero_grad()
        micro_batches = [self._inputs(batch) for batch in batches]
        loss = forward_backward(self.stages, micro_batches)
        self.optimizer.prepare_grads()
        norm = float(self.optimizer.get_grad_norm())
        # Both are the same on every rank, so all of them stop, and none has changed a parameter.
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise NonFiniteError(loss, norm, locate(self.stages, micro_batches))
        apply_gradients(self.optimizer, lr, norm)
        checkpoint.finish_save(wait=False)
        return StepResult(loss, norm)

    def gather(self) -> None:
        """Complete the parameters before anything but `step` reads them.

        With overlap and the distributed optimizer, what other ranks have computed arrives during the next step.
        """
        replicas.gather_parameters(self.stages)

    def save(self, folder: Path, progress: dict[str, Any]) -> None:
        """A checkpoint of `dist_checkpointing`, which any layout loads; see `adapters.megatron.checkpoint`."""
        self.gather()
        checkpoint.save(
            folder, self.stages, self.optimizer, progress, asynchronous=self.settings.checkpoints.asynchronous
        )

    def finish_save(self) -> None:
        """Wait for an asynchronous save."""
        checkpoint.finish_save()

    def load(self, folder: Path) -> dict[str, Any]:
        """Model, optimizer and random states; returns the progress that was saved with them."""
        return checkpoint.load(folder, self.stages, self.optimizer)

    def export(self, folder: Path) -> None:
        """The checkpoint in Hugging Face's form, streamed from this layout."""
        from adapters.huggingface.export_weights import export_weights

        self.gather()
        export_weights(self.models, folder, overwrite=True)

    def _inputs(self, batch: Batch) -> MicroBatch:
        labels = {"labels": batch.labels, "loss_mask": batch.loss_mask}
        return {name: value.to(torch.cuda.current_device()) for name, value in (batch.inputs() | labels).items()}
