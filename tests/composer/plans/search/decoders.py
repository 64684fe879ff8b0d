"""Decoders and clusters that tests of the search ask about."""

from attrs import frozen

from composer.plans.costs import Costs, Setting
from composer.plans.hardware import Efficiency, Hardware
from composer.plans.layout import Layout


@frozen
class Layers:
    """A decoder of so many layers that costs nothing."""

    number: int
    kv_heads: int = 2
    num_experts: int = 4

    @property
    def kinds(self) -> tuple[str, ...]:
        return ("all",) * self.number

    def misfits(self, layout: Layout) -> tuple[str, ...]:
        return (f"{self.kv_heads} key/value heads",) if self.kv_heads % layout.tp else ()

    def layer(self, kind: str, setting: Setting) -> Costs:
        return Costs()

    embedding = stage = head = lambda self, setting: Costs()


def eight_gpus() -> Hardware:
    efficiency = Efficiency(gemm=0.7, grouped_gemm=0.5, attention=0.5, elementwise=0.8, network=0.7)
    return Hardware("test", 80, 900, 60, 3000, 8, 450, 50, 10, 5, 2, efficiency)
