"""Seconds of one block (a layer, the embedding, the head, a tower) for one micro-batch, by component."""

from collections.abc import Mapping

from attrs import define, frozen

from composer.plans.costs import Counts, Message, Work
from composer.plans.layout import Layout
from composer.plans.time.network import Groups, Links
from composer.plans.time.operation import BACKWARD_LAUNCHES, BACKWARD_PYTHON, Rates, model_flops

RECOMPUTED: dict[str, tuple[str, ...]] = {
    "core_attn": ("core_attention",),
    "layernorm": ("norms",),
    "mlp": ("dense", "experts", "router", "dispatch"),
    "moe": ("experts", "router", "dispatch"),
}
"""Megatron-Core's names of modules that can be computed again, and the parts of a layer they are."""


@define(eq=False)
class BlockTime:
    """Seconds of forward and backward of one micro-batch; `host`: what the GPU waits for kernels to be started.

    Never changed; not frozen, since many are made and attrs takes five times longer for those.
    """

    compute: float = 0.0
    attention: float = 0.0
    tensor_parallel: float = 0.0
    context_parallel: float = 0.0
    expert_parallel: float = 0.0
    host: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return (
            self.compute
            + self.attention
            + self.tensor_parallel
            + self.context_parallel
            + self.expert_parallel
            + self.host
        )

    def __add__(self, other: "BlockTime") -> "BlockTime":
        """Both, component by component."""
        return BlockTime(
            self.compute + other.compute,
            self.attention + other.attention,
            self.tensor_parallel + other.tensor_parallel,
            self.context_parallel + other.context_parallel,
            self.expert_parallel + other.expert_parallel,
            self.host + other.host,
        )

    def __mul__(self, times: float) -> "BlockTime":
        """So often."""
        return BlockTime(
            self.compute * times,
            self.attention * times,
            self.tensor_parallel * times,
            self.context_parallel * times,
            self.expert_parallel * times,
            self.host * times,
        )


@frozen
class Gradients:
    """What the backward pass of a block has to make.

    flows: a gradient passes through it: something upstream trains, or the block itself. trained: share of the
    parameters of each part that trains.
    """

    flows: bool
    trained: tuple[tuple[str, float], ...] = ()


def again(layout: Layout) -> frozenset[str] | None:
    """Parts of a layer that the backward pass computes again; None: all of them."""
    if layout.recompute == "full":
        return None
    if layout.recompute == "none":
        return frozenset()
    named = layout.recompute_modules or ("core_attn",)
    return frozenset(part for name in named for part in RECOMPUTED.get(name, ()))


def block_time(
    costs: Counts,
    gradients: Gradients,
    recomputed: frozenset[str] | None,
    rates: Rates,
    links: Links,
    groups: Groups,
) -> BlockTime:
    """Forward, backward, and forward again where nothing was kept.

    Within a pass the host runs ahead of the GPU; where starting kernels takes longer than running them, the GPU waits
    for the difference.

    Args:
        costs: of the block.
        gradients: what the backward pass makes.
        recomputed: parts that it computes again; None: all.
        rates: of the GPU. links: of the network. groups: where messages travel.
    """
    trained = dict(gradients.trained)
    forward, backward, launched, launched_back = _works(costs.work, gradients.flows, trained, recomputed, rates)
    sent, sent_back = _messages(costs.messages, gradients.flows, recomputed, links, groups)
    ahead = sum(forward.values()) + sum(sent.values())
    behind = sum(backward.values()) + sum(sent_back.values())
    return BlockTime(
        compute=forward["compute"] + backward["compute"],
        attention=forward["attention"] + backward["attention"],
        tensor_parallel=sent["tp"] + sent_back["tp"],
        context_parallel=sent["cp"] + sent_back["cp"],
        expert_parallel=sent["ep"] + sent_back["ep"],
        host=max(0.0, launched - ahead) + max(0.0, launched_back - behind),
    )


def _works(
    works: tuple[Work, ...], flows: bool, trained: Mapping[str, float], recomputed: frozenset[str] | None, rates: Rates
) -> tuple[dict[str, float], dict[str, float], float, float]:
    """Seconds forward and backward by component, and seconds that the host takes to start each."""
    forward, backward = {"compute": 0.0, "attention": 0.0}, {"compute": 0.0, "attention": 0.0}
    started = started_back = 0.0
    for work in works:
        place = "attention" if work.part == "core_attention" else "compute"
        seconds = rates.seconds(work)
        own = trained.get(work.part, 0.0)
        passes = (work.backward if flows else 0.0) + work.weight_backward * own
        for_each = BACKWARD_LAUNCHES if work.bytes or work.flops else BACKWARD_PYTHON
        kernels = for_each * work.launches if flows or own else 0.0
        if (recomputed is None or work.part in recomputed) and (flows or own):
            passes += 1
            kernels += work.launches
        forward[place] += seconds
        backward[place] += seconds * passes
        started += work.launches
        started_back += kernels
    return forward, backward, started * rates.launch, started_back * rates.launch


def _messages(
    messages: tuple[Message, ...], flows: bool, recomputed: frozenset[str] | None, links: Links, groups: Groups
) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds forward and backward by kind of parallelism; ranks that share an expert count with the experts'."""
    forward, backward = {"tp": 0.0, "cp": 0.0, "ep": 0.0}, {"tp": 0.0, "cp": 0.0, "ep": 0.0}
    for message in messages:
        seconds = links.seconds(message.collective, groups.named(message.group), message.bytes)
        place = "ep" if message.group == "etp" else message.group
        forward[place] += seconds
        if flows:
            times = message.backward + (recomputed is None or message.part in recomputed)
            backward[place] += times * seconds
    return forward, backward


def block_flops(costs: Counts, gradients: Gradients) -> float:
    """FLOPs that the model asks for, forward and backward: attention's kernel does more to keep less."""
    trained, total = dict(gradients.trained), 0.0
    for work in costs.work:
        passes = 1.0 + work.weight_backward * trained.get(work.part, 0.0)
        if gradients.flows:
            passes += min(work.backward, 2.0)
        total += model_flops(work) * passes
    return total
