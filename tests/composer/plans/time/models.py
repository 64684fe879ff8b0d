"""A small model with a tower, whose costs are round numbers: a layer computes for 1 ms on `machine()`."""

from attrs import evolve, frozen

from composer.masks import parse
from composer.plans.costs import Costs, Message, Setting, Work
from composer.plans.hardware import Efficiency, Hardware
from composer.plans.inventory import EncoderCosts, Inventory, Parameter, Polynomial
from composer.plans.job import Job
from composer.plans.layout import Layout
from composer.plans.model import PlannedModel

LAYERS = 12


@frozen
class Round:
    """Each layer: 1 ms of products forward; exchanged tokens where there are expert-parallel ranks."""

    kinds: tuple[str, ...] = ("all",) * LAYERS
    kv_heads: int = 8
    num_experts: int = 8
    launches: int = 0
    head_ms: float = 0.0

    def layer(self, kind: str, setting: Setting) -> Costs:
        tp = setting.layout.tp
        work = Work("attention", "gemm", 1e9 / tp, 0, self.launches, weight_backward=1.0)
        messages = [Message("attention", "all_reduce", "tp", 1e6)] if tp > 1 else []
        if setting.layout.ep > 1:
            messages.append(Message("dispatch", "all_to_all", "ep", 1e6))
        return Costs((work,), (), tuple(messages))

    def embedding(self, setting: Setting) -> Costs:
        return Costs()

    def stage(self, setting: Setting) -> Costs:
        return Costs()

    def head(self, setting: Setting) -> Costs:
        return Costs((Work("head", "gemm", 1e9 * self.head_ms, 0, 0, weight_backward=1.0),))

    def misfits(self, layout: Layout) -> tuple[str, ...]:
        return ()


def machine(**changes: float) -> Hardware:
    """1 TFLOP/s of products, 1 GB/s over NVLink, 0.1 GB/s between nodes of four; nothing takes time to start."""
    every = Efficiency(1, 1, 1, 1, 1)
    return evolve(Hardware("round", 80, 1, 1, 1000, 4, 1, 0.1, 0, 0, 0, every, spread=0.1), **changes)


def model(frozen_layers: int = 0, tower: bool = False, tower_trains: bool = False, **costs: float) -> PlannedModel:
    """Of 12 layers; with a tower, 1 ms forward for an image."""
    made = [Parameter("embedding", "lm", "embeddings", (1000, 100), 0), Parameter("head", "lm", "head", (1000, 100), 0)]
    made += [Parameter(f"layer.{n}", "lm", "attention", (100, 100), 0, n) for n in range(LAYERS)]
    trained = {each.name for each in made if each.layer is not None and each.layer >= frozen_layers}
    trained |= {"head"} if frozen_layers else {"head", "embedding"}
    encoders: tuple[EncoderCosts, ...] = ()
    if tower:
        none = Polynomial()
        encoders = (EncoderCosts("tower", Polynomial(linear=1e9), none, none, none, none, none, none, 0, traced=True),)
        made.append(Parameter("tower.weight", "tower", "tower", (10, 10)))
        trained |= {"tower.weight"} if tower_trains else set()
    decoder = Round(**costs)  # type: ignore[arg-type]
    inventory = Inventory("0", "round", tuple(made), encoders)
    return PlannedModel(inventory, "lm", decoder, {"all": parse("causal")}, frozenset(trained))


def job(gpus: int = 4, batch: int = 16, images: int = 0) -> Job:
    return Job(gpus, 64, batch, images=images, image_tokens=1, precision="bf16")
