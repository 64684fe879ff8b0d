"""A decoder layer: what its parts keep, or, where it is computed again, its input alone."""

from attrs import evolve, frozen

from components.language.costs import transients
from components.language.costs.attention import attention
from components.language.costs.delta_net import delta_net
from components.language.costs.feed_forward import feed_forward
from components.language.costs.norms import rms_norm
from components.language.costs.tape import Kept, Stored, Tape, Tokens
from components.language.gpt_declaration import Gpt, kind_of
from composer.plans.costs import Setting


@frozen
class Halves:
    """What a layer keeps, and how much of it belongs to the attention half."""

    tape: Tape
    attention: int

    @property
    def feed_forward(self) -> int:
        """Bytes of the other half."""
        return self.tape.bytes - self.attention


def of_layer(section: Gpt, kind: str, setting: Setting) -> Kept:
    """Of one layer of a kind."""
    halves = _halves(section, kind, setting)
    return Kept(halves.tape.saved, _transient(section, kind, setting, halves))


def _halves(section: Gpt, kind: str, setting: Setting) -> Halves:
    layer, hidden, layout = section.layers.whole(kind), section.config.hidden_size, setting.layout
    tape, outer = Tape(setting.element), Tokens.of(setting).outer
    residual = Stored.whole("residual", outer * hidden)
    if layout.recompute == "full":
        tape.keep(residual, "layer")
        return Halves(tape, tape.bytes)
    rms_norm(tape, residual, outer, "attention norm", setting)
    if layer.attention is None:
        delta_net(tape, layer, hidden, setting)
    else:
        attention(tape, layer, kind_of(kind), hidden, setting)
    of_attention = tape.bytes
    if layout.recompute == "selective" and "mlp" in layout.recompute_modules:
        # Megatron-Core's name; here it is the whole feed-forward half, experts too.
        tape.new("middle residual", outer * hidden, "layer")
    else:
        feed_forward(tape, layer, hidden, setting)
    return Halves(tape, of_attention)


def _transient(section: Gpt, kind: str, setting: Setting, kept: Halves) -> int:
    """The fuller half's moment, backward; what is computed again lives until that half's pass is done.

    The feed-forward half comes first: attention has its room.
    """
    attention_half = transients.of_attention(section, kind, setting)
    feed_forward_half = transients.of_feed_forward(section, kind, setting)
    recompute = setting.layout.recompute
    if recompute == "none":
        return max(feed_forward_half, attention_half - kept.feed_forward)
    everything = evolve(setting, layout=evolve(setting.layout, recompute="none", recompute_modules=()))
    whole = _halves(section, kind, everything)
    if recompute == "full":
        return whole.tape.bytes - kept.tape.bytes + max(feed_forward_half, attention_half - whole.feed_forward)
    return max(
        whole.feed_forward - kept.feed_forward + feed_forward_half,
        whole.attention - kept.attention + attention_half - kept.feed_forward,
    )
