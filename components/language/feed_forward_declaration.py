"""What a spec says of the feed-forward half of a layer: a dense branch, experts, their router (torch-free)."""

from collections.abc import Iterator
from typing import Literal

from attrs import field, frozen

from composer.finding import Finding
from composer.ranges import positive, whole


def _doc(text: str) -> dict[str, str]:
    return {"description": text}


@frozen
class Dense:
    """A gated feed-forward network: act(gate(x)) · up(x), then down."""

    intermediate_size: int = field(metadata=_doc("Width between the two projections."))


@frozen
class Router:
    """Chooses experts per token: scores of W · f(x), the k best, and a weight for each of them."""

    input: Literal["residual", "normed"] = field(
        default="normed", metadata=_doc("What is routed: the raw residual stream, or what the experts read.")
    )
    input_norm: Literal["none", "scale_free"] = field(default="none", metadata=_doc("Norm of the router's input."))
    input_scale: Literal["none", "learned"] = field(
        default="none", metadata=_doc("A learned [hidden] factor on the router's input.")
    )
    input_factor: Literal["none", "inv_sqrt_hidden"] = field(
        default="none", metadata=_doc("A constant factor on the router's input.")
    )
    score: Literal["softmax", "sigmoid"] = field(
        default="softmax", metadata=_doc("softmax: scores share 1 among all experts. sigmoid: each its own.")
    )
    bias: Literal["none", "learned_correction"] = field(
        default="none",
        metadata=_doc("learned_correction: a stored [experts] number added to scores for choosing, not for weights."),
    )
    groups: int = field(
        default=1, metadata=_doc("Experts come in so many groups of neighbours; 1: the choice is among all.")
    )
    group_top_k: int = field(
        default=1,
        metadata=_doc("Groups to choose experts from: those whose two best experts have the highest sum of scores."),
    )
    renormalise: bool = field(default=True, metadata=_doc("The chosen experts' weights sum to one."))
    scaling: float = field(default=1.0, metadata=_doc("A constant factor on the weights, after renormalising."))
    expert_scale: Literal["none", "learned"] = field(
        default="none", metadata=_doc("A learned [experts] factor on the weights, after renormalising.")
    )
    apply: Literal["output", "input"] = field(
        default="output", metadata=_doc("Weights multiply what an expert makes, or what it reads (with top_k 1).")
    )

    @property
    def is_plain(self) -> bool:
        """Whether it is softmax and the k best of all: what Megatron-Core computes exactly as transformers does."""
        return (self.score, self.bias, self.groups, self.scaling) == ("softmax", "none", 1, 1.0)


@frozen
class Shared:
    """An expert that every token passes, beside the chosen ones; reads what they read, its output is added."""

    intermediate_size: int = field(metadata=_doc("Width between its two projections, of each of `count`."))
    count: int = field(default=1, metadata=_doc("So many lie side by side in one network, `count` times as wide."))
    gate: Literal["none", "sigmoid"] = field(
        default="none", metadata=_doc("sigmoid: its output times the sigmoid of a learned projection to one number.")
    )

    @property
    def width(self) -> int:
        """Of all of them."""
        return self.intermediate_size * self.count


@frozen
class ExpertSet:
    """Experts of some tokens, as many as the first set has, with a router of their own like its."""

    tokens: tuple[str, ...] = field(metadata=_doc("Names of the spec's `tokens` that pass these experts."))
    intermediate_size: int = field(metadata=_doc("Width inside one of them."))


@frozen
class Experts:
    """A mixture of gated feed-forward networks."""

    num_experts: int = field(metadata=_doc("Number of experts."))
    top_k: int = field(metadata=_doc("Experts per token."))
    intermediate_size: int = field(metadata=_doc("Width inside one expert."))
    router: Router = field(factory=Router, metadata=_doc("How experts are chosen."))
    shared: Shared | None = field(default=None, metadata=_doc("An expert for every token; null: none."))
    sets: dict[str, ExpertSet] = field(
        factory=dict,
        hash=False,
        metadata=_doc("More sets, by name: tokens of theirs pass them instead; all others pass the experts above."),
    )


@frozen
class FeedForward:
    """The feed-forward half of a layer: a dense branch, experts, or both side by side."""

    dense: Dense | None = field(default=None, metadata=_doc("The dense branch."))
    experts: Experts | None = field(default=None, metadata=_doc("The mixture-of-experts branch."))
    join: Literal["sum"] = field(default="sum", metadata=_doc("How two branches meet."))
    branch_norms: bool = field(
        default=True,
        metadata=_doc(
            "With two branches: the experts read their own norm of the residual, and each branch's output has a norm "
            "of its own before they join."
        ),
    )

    @property
    def is_empty(self) -> bool:
        """Whether it has no branch."""
        return self.dense is None and self.experts is None


def check_feed_forward(ffn: FeedForward, path: str) -> Iterator[Finding]:
    """Branches, and within each sizes that fit."""
    if ffn.is_empty:
        yield Finding(path, "neither dense nor experts is given: a layer has at least one of them.")
    elif not ffn.branch_norms and (ffn.dense is None or ffn.experts is None):
        yield Finding(f"{path}.branch_norms", "it has no effect with one branch: dense and experts have such norms.")
    if ffn.dense:
        yield from whole(f"{path}.dense.intermediate_size", ffn.dense.intermediate_size)
    if ffn.experts:
        yield from _experts(ffn.experts, f"{path}.experts")


def _experts(experts: Experts, path: str) -> Iterator[Finding]:
    yield from whole(f"{path}.intermediate_size", experts.intermediate_size)
    if experts.shared is not None:
        yield from whole(f"{path}.shared.intermediate_size", experts.shared.intermediate_size)
        yield from whole(f"{path}.shared.count", experts.shared.count)
    for name, each in experts.sets.items():
        yield from _set(name, each, experts, f"{path}.sets.{name}")
    if experts.num_experts < 1:
        yield from whole(f"{path}.num_experts", experts.num_experts)
    elif not 0 < experts.top_k <= experts.num_experts:
        message = f"{experts.top_k} of {experts.num_experts} experts ({{0}}) cannot be chosen."
        yield Finding(f"{path}.top_k", message, (f"{path}.num_experts",))
    else:
        yield from _router(experts, path)


def _set(name: str, part: ExpertSet, experts: Experts, path: str) -> Iterator[Finding]:
    yield from whole(f"{path}.intermediate_size", part.intermediate_size)
    if not part.tokens:
        yield Finding(f"{path}.tokens", "no token is named: none would pass these experts.")
    for other, earlier in experts.sets.items():
        if other == name:
            return
        for both in sorted(set(part.tokens) & set(earlier.tokens)):
            yield Finding(f"{path}.tokens", f"{both} passes the experts of {other} ({{0}}) already.", (f"{path}",))


def _router(experts: Experts, path: str) -> Iterator[Finding]:
    router, count = experts.router, experts.num_experts
    yield from positive(f"{path}.router.scaling", router.scaling)
    if router.apply == "input" and experts.top_k != 1:
        message = f"weights on the input go with top_k 1, not {experts.top_k} ({{0}}): each expert would read another."
        yield Finding(f"{path}.router.apply", message, (f"{path}.top_k",))
    if router.groups < 1:
        yield from whole(f"{path}.router.groups", router.groups)
    elif router.groups > 1:
        yield from _groups(experts, path)
    elif router.group_top_k != 1:
        message = f"{router.group_top_k} has no effect with one group of experts: set groups."
        yield Finding(f"{path}.router.group_top_k", message)
    if count == 1 and router.bias != "none":
        yield Finding(f"{path}.router.bias", "it has no effect: there is one expert to choose.")


def _groups(experts: Experts, path: str) -> Iterator[Finding]:
    router, count = experts.router, experts.num_experts
    if count % router.groups or count // router.groups < 2:
        message = f"{count} experts ({{0}}) are not {router.groups} groups of two or more."
        yield Finding(f"{path}.router.groups", message, (f"{path}.num_experts",))
    elif not 0 < router.group_top_k <= router.groups:
        message = f"{router.group_top_k} of {router.groups} groups ({{0}}) cannot be chosen."
        yield Finding(f"{path}.router.group_top_k", message, (f"{path}.router.groups",))
    elif router.group_top_k * (count // router.groups) < experts.top_k:
        message = f"{router.group_top_k} groups of {count // router.groups} have fewer experts than top_k ({{0}})."
        yield Finding(f"{path}.router.group_top_k", message, (f"{path}.top_k",))
