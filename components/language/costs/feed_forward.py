"""What the feed-forward half keeps: its norms, the dense branch, and experts (`experts.py`)."""

from components.language.costs.experts import experts
from components.language.costs.norms import rms_norm
from components.language.costs.tape import Stored, Tape, Tokens
from components.language.feed_forward_declaration import Shared
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
        if part.experts.shared is not None:
            shared(tape, part.experts.shared, given, hidden, setting)
        if both:
            rms_norm(tape, Stored.whole("experts output", outer * hidden), outer, "experts norm", setting)
    if layer.norms == "sandwich":
        rms_norm(tape, Stored.whole("feed-forward output", outer * hidden), outer, "feed-forward output norm", setting)


def shared(tape: Tape, part: Shared, given: Stored, hidden: int, setting: Setting) -> None:
    """The expert of every token, and what its gate multiplies."""
    dense(tape, given, part.width, setting, "shared")
    if part.gate == "sigmoid":
        tape.new("shared gate", given.own // hidden, "dense")
        tape.new("shared output", given.own, "dense")


def dense(tape: Tape, normed: Stored, width: int, setting: Setting, name: str = "dense") -> None:
    """Megatron-Core's gated MLP, its activation unfused: gate and up side by side, each once more, their product."""
    one = Tokens.of(setting).inner * (width // setting.layout.tp)
    tape.keep(normed, "dense", "weights")
    tape.new(f"{name} gate and up", 2 * one, "dense")
    tape.new(f"{name} activated gate", one, "dense")
    tape.new(f"{name} up", one, "dense")
    tape.new(f"{name} product", one, "dense", "weights")
