"""What a mixture of experts keeps: router, dispatch, experts, and their way back; balanced routing is assumed.

Legend: T tokens of this rank, E experts, k experts per token, R tokens that this rank's experts receive.
"""

from components.language.costs.norms import scale_free
from components.language.costs.tape import WIDE, Stored, Tape, Tokens
from components.language.feed_forward_declaration import Experts, Router
from composer.plans.costs import Setting

INDEX = 8  # bytes of an int64


def recomputes(setting: Setting) -> bool:
    """Whether the branch is computed again in the backward pass."""
    return setting.layout.recompute == "selective" and "moe" in setting.layout.recompute_modules


def received(part: Experts, setting: Setting) -> int:
    """R: as many as are sent, times the ranks that an expert is split over, which all see them."""
    return Tokens.of(setting).outer * part.top_k * setting.layout.etp


def experts(tape: Tape, part: Experts, given: Stored, routed: Stored, hidden: int, setting: Setting) -> None:
    """given: what the experts read; routed: what the router reads.

    Tokens of several sets count with the first set, whose experts are the widest that families have.
    """
    if part.sets:
        tape.new("places of sets' tokens", Tokens.of(setting).outer, "experts", element=INDEX)
        given, routed = (Stored.whole(f"sets' {name}", given.own) for name in ("tokens", "tokens for routers"))
    if recomputes(setting):
        tape.keep(given, "experts")
        tape.keep(routed, "experts")
        return
    tokens = Tokens.of(setting).outer
    _router(tape, part.router, routed, tokens, setting)
    _choice(tape, part, tokens)
    rows, one = received(part, setting), received(part, setting) * (part.intermediate_size // setting.layout.etp)
    tape.new("dispatched tokens", rows * hidden, "experts", "weights")
    tape.new("dispatched weights", rows, "experts", element=WIDE)
    if part.router.apply == "input":
        tape.new("tokens before their weights", rows * hidden, "experts")
        tape.new("ones for weights", rows, "experts", element=WIDE)
    tape.new("expert gate and up", 2 * one, "experts")
    tape.new("expert activated gate", one, "experts")
    tape.new("expert up", one, "experts")
    if part.router.apply == "output":
        tape.new("expert product", one, "experts")
    tape.new("expert weighted product", one, "experts", "weights")


def _router(tape: Tape, router: Router, x: Stored, tokens: int, setting: Setting) -> None:
    width = x.own // tokens
    if router.input_norm == "scale_free":
        scale_free(tape, x, tokens, "router norm", "router")
        x = Stored.whole("router normed", x.own)
    if router.input_scale == "learned":
        tape.keep(x, "router", "weights")
        x = Stored.whole("router scaled", x.own)
    if router.input_factor != "none":
        x = Stored.whole("router input", tokens * width)
    tape.keep(x, "router")


def _choice(tape: Tape, part: Experts, tokens: int) -> None:
    """Scores in float32, choices as int64; the order of all pairs is kept whole, though a part of it is used."""
    chosen, pairs = tokens * part.top_k, tokens * part.num_experts
    tape.new("chosen experts", chosen, "experts", element=INDEX)
    few = part.router.is_plain and part.router.renormalise
    tape.new("scores", chosen if few else pairs, "experts", element=WIDE)
    if not part.router.is_plain and part.router.renormalise:
        tape.new("weights before they sum to one", chosen + tokens, "experts", element=WIDE)
    if part.router.expert_scale == "learned":
        tape.new("weights before their scale", pairs, "router", "weights", WIDE)
    tape.new("order of pairs", pairs, "experts", element=INDEX)
    tape.new("order of tokens", chosen, "experts", element=INDEX)
