"""A decoder layer: what its parts keep, or, where it is computed again, its input alone."""

from attrs import evolve

from components.language.costs import transients
from components.language.costs.attention import attention
from components.language.costs.feed_forward import feed_forward
from components.language.costs.norms import rms_norm
from components.language.costs.tape import Kept, Stored, Tape, Tokens
from components.language.gpt_declaration import Gpt
from composer.plans.costs import Setting


def of_layer(section: Gpt, kind: str, setting: Setting) -> Kept:
    """Of one layer of a kind."""
    tape = _tape(section, kind, setting)
    return Kept(tape.saved, transients.of_layer(section, kind, setting) + _again(section, kind, setting, tape))


def _tape(section: Gpt, kind: str, setting: Setting) -> Tape:
    layer, hidden, layout = section.layers.kinds[kind], section.config.hidden_size, setting.layout
    tape, outer = Tape(setting.element), Tokens.of(setting).outer
    residual = Stored.whole("residual", outer * hidden)
    if layout.recompute == "full":
        tape.keep(residual, "layer")
        return tape
    rms_norm(tape, residual, outer, "attention norm", setting)
    attention(tape, layer, kind, hidden, setting)
    if layout.recompute == "selective" and "mlp" in layout.recompute_modules:
        # Megatron-Core's name; here it is the whole feed-forward half, experts too.
        tape.new("middle residual", outer * hidden, "layer")
    else:
        feed_forward(tape, layer, hidden, setting)
    return tape


def _again(section: Gpt, kind: str, setting: Setting, kept: Tape) -> int:
    """Bytes that come to be when the layer is computed again, and live until its backward pass is done."""
    if setting.layout.recompute == "none":
        return 0
    everything = evolve(setting, layout=evolve(setting.layout, recompute="none", recompute_modules=()))
    return max(0, _tape(section, kind, everything).bytes - kept.bytes)
