"""What the feed-forward half keeps: its norms, the dense branch, and experts (`experts.py`)."""

from components.language.costs.experts import experts
from components.language.costs.norms import rms_norm
from components.language.costs.tape import Stored, Tape, Tokens
from components.language.gpt_declaration import Layer
from composer.plans.costs import Setting


def feed_forward(tape: Tape, layer: Layer, hidden: int, setting: Setting) -> None:
    """From the residual stream to what is added to it."""
    part, outer = layer.ffn, Tokens.of(setting).outer
    both = part.dense is not None and part.experts is not None and part.branch_norms
    residual = Stored.whole("middle residual", outer * hidden)
    normed = Stored.whole("feed-forward input", outer * hidden)
    rms_norm(tape, residual, outer, "feed-forward norm", setting)
    if part.dense is not None:
        dense(tape, normed, part.dense.intermediate_size, setting)
        if both:
            rms_norm(tape, Stored.whole("dense output", outer * hidden), outer, "dense norm", setting)
    if part.experts is not None:
        if both:
            rms_norm(tape, residual, outer, "experts input norm", setting)
        given = Stored.whole("experts input", outer * hidden) if both else normed
        routed = residual if part.experts.router.input == "residual" else given
        experts(tape, part.experts, given, routed, hidden, setting)
        if both:
            rms_norm(tape, Stored.whole("experts output", outer * hidden), outer, "experts norm", setting)
    if layer.norms == "sandwich":
        rms_norm(tape, Stored.whole("feed-forward output", outer * hidden), outer, "feed-forward output norm", setting)


def dense(tape: Tape, normed: Stored, width: int, setting: Setting) -> None:
    """Megatron-Core's gated MLP, its activation unfused: gate and up side by side, each once more, their product."""
    one = Tokens.of(setting).inner * (width // setting.layout.tp)
    tape.keep(normed, "dense", "weights")
    tape.new("dense gate and up", 2 * one, "dense")
    tape.new("dense activated gate", one, "dense")
    tape.new("dense up", one, "dense")
    tape.new("dense product", one, "dense", "weights")
