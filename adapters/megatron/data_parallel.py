"""Megatron-Core's data-parallel wrapper, for models of which a rank may run only a part.

A batch without images leaves the towers of its rank idle, while those of another rank run. With overlap, Megatron-Core
sends each bucket of gradients as soon as all of them are there, and gathers each bucket of parameters just before a
module reads them: ranks would send in different orders, or wait for a bucket for ever. So buckets with parameters of
towers and projectors are sent and gathered at fixed times. Those of the decoder, nearly all, still overlap.
"""

from typing import Any

from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig

from adapters.megatron.module import ComposedModel


class ComposedDataParallel(DistributedDataParallel):
    """Sends every bucket exactly once a step on every rank, in one order, whatever ran."""

    module: ComposedModel

    def __init__(self, model: ComposedModel, settings: DistributedDataParallelConfig) -> None:
        super().__init__(model.config, settings, model)
        encoders = [getattr(model, name) for name in model.program.encoders if model.pre_process]
        sometimes_idle = {id(parameter) for encoder in encoders for parameter in encoder.parameters()}
        # In the order in which a forward pass meets them, which is that of Megatron-Core's own chain of gathers.
        self._fixed = [
            group
            for group in reversed(self.bucket_groups)
            if any(id(parameter) in sometimes_idle for parameter in group.params)
        ]
        for group in self._fixed:
            # A group that never counts what is ready stays as it is in its first step: sent when gradients are
            # finalised, group by group.
            group.register_grad_ready = _not_counted

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the model's; parameters that an idle tower would not ask for are gathered first."""
        if self.use_forward_hook:
            for group in self._fixed:
                group.finish_param_sync()
        return super().forward(*args, **kwargs)


def _not_counted(*_: Any, **__: Any) -> None:
    """In place of counting a gradient as ready to be sent."""
