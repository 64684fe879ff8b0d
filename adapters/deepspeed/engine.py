"""The training loop's engine on DeepSpeed: ZeRO 0 to 3, with or without offloading."""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from megatron.core import parallel_state
from torch import Tensor, distributed

from adapters.deepspeed import saving
from adapters.deepspeed.config import deepspeed_config, expert_warning
from adapters.deepspeed.idle_towers import IdleTowers
from adapters.deepspeed.parameter_groups import set_learning_rate
from adapters.deepspeed.record import Record
from adapters.deepspeed.start import start
from adapters.deepspeed.whole_weights import copy_weights, whole_on
from adapters.huggingface.export_weights import export_weights
from adapters.huggingface.ranks import all_ranks
from adapters.megatron.module import ComposedModel
from adapters.megatron.non_finite import locate
from adapters.training.collator import Batch
from adapters.training.engine import StepResult
from adapters.training.problems import NonFiniteError
from adapters.training.settings import Stage, Training
from adapters.training.stages import check_trained, freeze_all_but
from composer.plans.freeze_file import FreezePlan


class DeepSpeedEngine:
    """See `adapters.training.engine.Engine`. Each rank runs the whole model on its share of every global batch."""

    sequence_multiple = 1
    uniform = False

    def __init__(
        self,
        model: ComposedModel,
        settings: Training,
        changes: Mapping[str, Any] | None = None,
        *,
        plan: FreezePlan | None = None,
    ) -> None:
        """Take a model over.

        Args:
            model: built after `runtime.init()` without model parallelism, the same weights on every rank.
            settings: of the run, checked.
            changes: sections of DeepSpeed's configuration, merged over those made from the settings.
            plan: what trains in each stage; None: as the stages themselves say.

        Raises:
            TrainingError: the settings ask for what ZeRO cannot do.
        """
        self.data_rank: int = parallel_state.get_data_parallel_rank()
        self.data_ranks: int = parallel_state.get_data_parallel_world_size()
        self.settings, self.plan = settings, plan
        self.config = deepspeed_config(settings, self.data_ranks)
        for name, change in (changes or {}).items():
            own = self.config.get(name)
            self.config[name] = own | change if isinstance(own, dict) else change
        assert model.config.graph is not None
        self.graph = model.config.graph
        self.model = model
        self.device = torch.device(torch.cuda.current_device())
        self.engine: Any = None
        self.towers: IdleTowers | None = None
        warning = expert_warning(settings.zero.stage, model.config.num_moe_experts or 0)
        if warning and self.data_rank == 0:
            warnings.warn(warning, stacklevel=2)

    def begin_stage(self, stage: Stage) -> None:
        """Freeze, and start DeepSpeed over what trains; from the second stage on with a new model of the same weights.

        A new one, because what DeepSpeed does to a model it does not undo.
        """
        if self.engine is not None:
            self.engine.destroy()
            fresh = ComposedModel(self.model.config)
            copy_weights(self.model, fresh)
            self.model, self.engine = fresh, None
        planned = self.plan and self.plan.stage(stage.name)
        check_trained([self.model], self.graph, stage, planned)
        rates = freeze_all_but(self.model.train(), self.graph, stage, planned)
        gathered = self.settings.zero.stage == 3
        self.towers = IdleTowers(self.model, self.towers and self.towers.spare, gathered=gathered)
        self.engine = start(self.model, self.graph, self.settings.optimizer, self.config, rates)

    def step(self, batches: Sequence[Batch], lr: float) -> StepResult:
        """One optimizer step; none if only towers train and no rank has ever seen a picture.

        Raises:
            NonFiniteError: the loss or a gradient is not finite.
        """
        engine, _ = self._started()
        inputs = [self._inputs(batch) for batch in batches]
        tokens = self._agree(batches, inputs)
        set_learning_rate(engine.optimizer.param_groups, lr)
        total = torch.zeros((), device=self.device)
        trained = True
        for number, given in enumerate(inputs, 1):
            # Said for each micro-batch, not counted: a dry run has fewer than the global batch.
            engine.set_gradient_accumulation_boundary(number == len(inputs))
            losses, loss_mask = engine(**given)
            loss = (losses * loss_mask).sum()
            total += loss.detach()
            trained = loss.requires_grad
            if trained:
                # DeepSpeed takes the mean over ranks; the loss is one over the tokens of all of them.
                engine.backward(loss * (self.data_ranks / tokens), scale_wrt_gas=False)
            if trained and number < len(inputs):
                engine.step()
        distributed.all_reduce(total)
        mean = float(total) / tokens
        try:
            return StepResult(mean, self._update(mean) if trained else 0.0)
        except NonFiniteError as error:
            raise NonFiniteError(error.loss, error.grad_norm, locate([self.model], inputs, self._forward)) from None

    def _forward(self, _stages: Sequence[Any], inputs: Sequence[dict[str, Tensor]]) -> None:
        """For the search of a number that is none; a gradient alone is not searched for."""
        engine, _ = self._started()
        with torch.no_grad():
            for given in inputs:
                engine(**given)

    def _update(self, loss: float) -> float:
        """The optimizer's step, if all is finite; returns the gradient norm."""
        engine, _ = self._started()
        stage0 = not engine.zero_optimization()
        norm = _gradient_norm(self.model) if stage0 and self.settings.precision == "fp32" else None
        if not math.isfinite(loss) or (norm is not None and not math.isfinite(norm)):
            raise NonFiniteError(loss, math.nan if norm is None else norm)
        engine.step()
        if norm is None:
            # ZeRO looks at the norm before it changes a parameter, and changes none then.
            norm = float(engine.get_global_grad_norm())
            if not math.isfinite(norm) or getattr(engine.optimizer, "overflow", False):
                raise NonFiniteError(loss, norm)
        return norm

    def _agree(self, batches: Sequence[Batch], inputs: Sequence[dict[str, Tensor]]) -> int:
        """Learned tokens of the global batch; towers of every rank have a spare item after it, if any rank has."""
        _, towers = self._started()
        for batch, given in zip(batches, inputs, strict=True):
            towers.keep(given, int(batch.images_per_sample.sum()))
        own = torch.tensor([sum(batch.targets for batch in batches), towers.held()], device=self.device)
        found = [torch.empty_like(own) for _ in range(self.data_ranks)]
        distributed.all_gather(found, own)
        towers.share([int(held) for _, held in found])
        return max(1, sum(int(tokens) for tokens, _ in found))

    def _inputs(self, batch: Batch) -> dict[str, Tensor]:
        given = batch.inputs(self.device)
        return given | {"labels": batch.labels.to(self.device), "loss_mask": batch.loss_mask.to(self.device)}

    def save(self, folder: Path, progress: dict[str, Any]) -> None:
        """DeepSpeed's checkpoint: model, optimizer, random states; complete when this returns."""
        saving.save(*self._started(), folder, progress, graph=self.graph, saved_by=self._record())

    def finish_save(self) -> None:
        """Nothing to wait for."""

    def load(self, folder: Path) -> dict[str, Any]:
        """Load what `save` wrote with the same ZeRO stage and precision, on as many ranks; returns its `progress`."""
        return saving.load(*self._started(), folder, graph=self.graph, loaded_by=self._record())

    def export(self, folder: Path) -> None:
        """Write the checkpoint in Hugging Face's form: rank 0 gathers the model in its CPU memory and writes it.

        The others wait as long as that takes; if it fails, all of them hear why.
        """
        writes = self.data_rank == 0
        with whole_on(self.model, writes), all_ranks() as ranks, ranks.together(folder):
            if writes:
                export_weights(self.model, folder, overwrite=True, alone=True)

    def _record(self) -> Record:
        return Record(self.settings.zero.stage, distributed.get_world_size(), self.settings.precision)

    def _started(self) -> tuple[Any, IdleTowers]:
        if self.engine is None or self.towers is None:
            raise RuntimeError("no stage has begun: call begin_stage first")
        return self.engine, self.towers


def _gradient_norm(model: ComposedModel) -> float:
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients))
