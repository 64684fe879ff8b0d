"""Settings in which parameters, gradients and optimizer state are counted, and passes in flight."""

from typing import Any

from attrs import frozen

from composer.plans.execution import Execution
from composer.plans.layout import Layout
from tests.adapters.plans.activation_cases import ALL, DECODER, FROZEN_TOWER, SP, Case

RANKS = 2
MICRO_BATCHES = 6


@frozen
class StateCase:
    """A setting of `activation_cases`, and whether the optimizer is shared out."""

    case: Case
    distributed_optimizer: bool = False

    @property
    def execution(self) -> Execution:
        case = self.case
        return Execution(RANKS, case.layout, case.micro_batch, self.distributed_optimizer)


def _small(name: str, layout: Layout, trains: tuple[str, ...] = ALL, **settings: Any) -> Case:
    return Case(name, layout, micro_batch=1, images=1, seq=32, trains=trains, **settings)


CASES = (
    StateCase(_small("dp2", Layout())),
    StateCase(_small("dp2 bf16, decoder alone", Layout(), DECODER, precision="bf16")),
    StateCase(_small("tp2 dense", Layout(tp=2), model="dense", precision="bf16")),
    StateCase(_small("tp2sp", Layout(**SP), FROZEN_TOWER)),
    StateCase(_small("ep2 bf16", Layout(ep=2), precision="bf16")),
    StateCase(_small("etp2 tp2sp bf16", Layout(etp=2, **SP), precision="bf16")),
    StateCase(_small("cp2", Layout(cp=2), model="dense")),
    StateCase(_small("pp2", Layout(pp=2), FROZEN_TOWER, precision="bf16")),
    StateCase(_small("pp2vp2", Layout(pp=2, virtual_stages=2), model="dense")),
    StateCase(_small("dp2 bf16, shared", Layout(), precision="bf16"), distributed_optimizer=True),
    StateCase(_small("ep2, shared", Layout(ep=2), FROZEN_TOWER), distributed_optimizer=True),
)
