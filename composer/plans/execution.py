"""What a plan may choose: how a step is computed, never what it computes."""

from typing import Literal

from attrs import field, frozen

from composer.plans.layout import Layout, Zero


@frozen
class Execution:
    """Execution fields of a training job; with the same convergence fields, any two give the same losses."""

    gpus: int
    layout: Layout = field(factory=Layout)
    micro_batch: int = 1
    distributed_optimizer: bool = False
    overlap: bool = False
    engine: Literal["megatron", "deepspeed"] = "megatron"
    zero: Zero = field(factory=Zero)

    @property
    def data_ranks(self) -> int:
        """Replicas of the model: ranks that read different samples."""
        return self.gpus // self.layout.model_ranks

    @property
    def expert_data_ranks(self) -> int:
        """Ranks that hold the same experts."""
        return self.gpus // (self.layout.pp * self.layout.ep * self.layout.etp)

    def micro_batches(self, global_batch: int) -> int:
        """Forward passes of one replica in one optimizer step."""
        return global_batch // (self.micro_batch * self.data_ranks)
