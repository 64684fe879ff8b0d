"""Work of the feed-forward half: the dense branch, experts and their router, and the way of tokens between ranks."""

from collections.abc import Iterator

from components.language.feed_forward_declaration import Experts
from components.language.gpt_declaration import Layer
from components.language.work.operations import (
    MODULE_LAUNCHES,
    addition,
    gate,
    linear,
    norm,
    python,
    scale_free_norm,
    scaling,
)
from components.language.work.sizes import Tokens
from composer.plans.costs import Setting, Work

GROUPED_LAUNCHES = 4
"""Host time of each expert in a grouped product: its product, and Python that takes weights one by one."""


def feed_forward_work(layer: Layer, hidden: int, setting: Setting) -> Iterator[Work]:
    """Norms of both branches, the dense branch, and where they meet; not the residual's addition, and not experts."""
    part, tokens = layer.ffn, Tokens.of(setting)
    both = part.dense is not None and part.experts is not None
    elements = tokens.split * hidden
    yield norm("norms", elements, setting)
    if part.dense is not None:
        yield from _dense(part.dense.intermediate_size, hidden, tokens.whole, setting)
    if part.experts is not None and (shared := part.experts.shared) is not None:
        yield from _dense(shared.width, hidden, tokens.whole, setting)
        if shared.gate == "sigmoid":
            yield linear("dense", tokens.split, hidden, 1, setting)
            yield scaling("dense", elements, setting)
        yield addition("residual", elements, setting)
    if both:
        for _ in range(3 if part.branch_norms else 0):
            yield norm("norms", elements, setting)
        yield addition("residual", elements, setting)


def _dense(size: int, hidden: int, tokens: float, setting: Setting) -> Iterator[Work]:
    width = size / setting.layout.tp
    yield linear("dense", tokens, hidden, 2 * width, setting)
    yield gate("dense", tokens * width, setting)
    yield linear("dense", tokens, width, hidden, setting)
    yield python("dense")


def expert_work(part: Experts, hidden: int, setting: Setting) -> Iterator[Work]:
    """Router, the way of tokens to their experts and back, and the experts; all tokens as if of the first set."""
    tokens = Tokens.of(setting).split
    if part.sets:
        # Picked by set for routers and experts, and put back.
        yield Work("dispatch", "elementwise", 0, 6 * setting.element * tokens * hidden, 3 * (1 + len(part.sets)))
    yield from _router(part, hidden, tokens, setting)
    yield from _dispatch(part, hidden, tokens, setting)
    yield from _experts(part, hidden, tokens, setting)


def _router(part: Experts, hidden: int, tokens: float, setting: Setting) -> Iterator[Work]:
    """Scores in float32 over all experts, the choice, and weights in two tables of tokens × experts."""
    router, e, table = part.router, setting.element, tokens * part.num_experts
    if router.input_norm == "scale_free":
        yield scale_free_norm("router", tokens * hidden, setting)
    for wanted in (router.input_scale == "learned", router.input_factor != "none"):
        if wanted:
            yield scaling("router", tokens * hidden, setting)
    if e < 4:
        yield Work("router", "elementwise", 0, (e + 4) * (tokens + part.num_experts) * hidden, 2)
    flops = 2 * tokens * hidden * part.num_experts
    yield Work("router", "gemm", flops, 4 * tokens * hidden, 1, weight_backward=1.0, slowdown=4.0)  # float32 products
    if router.expert_scale == "learned":
        yield scaling("router", 2 * table, setting)
    yield Work("router", "elementwise", 0, 28 * table, 8)
    yield python("router")


def _dispatch(part: Experts, hidden: int, tokens: float, setting: Setting) -> Iterator[Work]:
    """Tokens sorted by expert, chunks of ranks sorted by expert and back, and summed where they came from."""
    rows = tokens * part.top_k * hidden
    received = rows * setting.layout.etp
    e = setting.element
    yield Work("dispatch", "elementwise", 0, 2 * e * (rows + 2 * received) + 3 * e * rows, 10, backward=1.0)
    yield python("dispatch")
    yield Work("dispatch", "elementwise", 0, 20 * tokens * part.num_experts, 6, backward=0.0)


def _experts(part: Experts, hidden: int, tokens: float, setting: Setting) -> Iterator[Work]:
    """Gated networks over balanced experts: as one grouped product, or one expert after the other."""
    layout, e = setting.layout, setting.element
    rows, local = tokens * part.top_k * layout.etp, part.num_experts // layout.ep
    width = part.intermediate_size / layout.etp
    grouped = setting.implementation == "transformer_engine"
    started = MODULE_LAUNCHES + GROUPED_LAUNCHES * local if grouped else MODULE_LAUNCHES * local
    for inner, outer in ((hidden, 2 * width), (width, hidden)):
        yield Work(
            "experts",
            "grouped_gemm",
            flops=2 * rows * inner * outer,
            bytes=e * (rows * (inner + outer) + local * inner * outer),
            launches=started,
            weight_backward=1.0,
        )
    copies = 1 if grouped else local
    yield gate("experts", rows * width, setting, copies)
    # Times the router's weights, which are float32: there and back.
    yield Work("experts", "elementwise", 0, 2 * (e + 4) * rows * width, 2 * copies, backward=2.0)
    yield python("dense", copies)
    if not grouped:
        yield Work("experts", "elementwise", 0, 2 * e * rows * hidden, 1)
