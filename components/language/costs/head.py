"""What stands around the layers: embedding, what every stage makes for itself, and the head with its loss.

Legend: T tokens, V words of the vocabulary on this rank.
"""

from components.language.costs.core_attention import kernel, recomputes
from components.language.costs.norms import rms_norm
from components.language.costs.tape import WIDE, Kept, Stored, Tape, Tokens
from components.language.gpt_declaration import Gpt, attending_kinds
from components.language.rotation_columns import num_rotation_columns
from composer.plans.costs import Setting

INDEX = 8  # bytes of an int64
LOGITS = "logits"
"""Part of what is kept of the logits; plans show it apart."""


def of_embedding(section: Gpt, setting: Setting) -> Kept:
    """Token ids as they are looked up, for the table's gradient. Features that are placed count with their towers."""
    tape, tokens = Tape(setting.element), Tokens.of(setting)
    tape.new("looked-up ids", tokens.inner, "embeddings", "weights", INDEX)
    if setting.layout.tp > 1:
        tape.new("ids of other ranks", tokens.inner, "embeddings", "weights", 1)
    as_it_is = setting.element == WIDE or setting.implementation != "local" or setting.layout.recompute == "full"
    if setting.layout.sequence_parallel and as_it_is:
        # What the first layer keeps is a view of the embeddings of the whole sequence; its own part is counted there.
        tape.new("other ranks' embeddings", (tokens.inner - tokens.outer) * section.config.hidden_size, "embeddings")
    # The looked-up rows, scaled, and with features in them: one after another, two at a time.
    return Kept(tape.saved, 2 * tokens.inner * section.config.hidden_size * setting.element)


def of_stage(section: Gpt, setting: Setting) -> Kept:
    """Rotations, kept by every layer's backward pass; metadata and tables of masks, if attention is computed again."""
    tape, tokens = Tape(setting.element), Tokens.of(setting)
    tape.new("rotation", 2 * tokens.inner * num_rotation_columns(section), "masks")
    used = {kind: kernel(part, kind, setting) for kind, part in attending_kinds(section).items()}
    pairs = tokens.inner * setting.seq
    tables = sum(pairs for each in used.values() if each in ("table", "capped"))
    metadata = tokens.all * setting.mask_fields * 4
    again = setting.layout.recompute == "full" or recomputes(setting)
    if again or "blocks" in used.values():
        tape.new("metadata", tokens.all * setting.mask_fields, "masks", element=4)
        tape.new("tables", tables, "masks", element=1)
        return Kept(tape.saved, 3 * pairs if tables else 0)
    # Kept by name until the forward pass is over; the last table's making needs a few more for a moment.
    return Kept(tape.saved, metadata + tables + (3 * pairs if tables else 0))


def of_head(section: Gpt, setting: Setting) -> Kept:
    """Final norm, logits in the parameters' type, and Megatron-Core's cross entropy in float32."""
    tape, tokens, sizes = Tape(setting.element), Tokens.of(setting), section.config
    residual = Stored.whole("last residual", tokens.outer * sizes.hidden_size)
    rms_norm(tape, residual, tokens.outer, "final norm", setting)
    tape.new("head input", residual.own, "head", "weights")
    logits = tokens.inner * (sizes.vocab_size // setting.layout.tp)
    if sizes.logit_softcap is not None:
        tape.new("hyperbolic tangent", logits, LOGITS)
    tape.new("softmax", logits, LOGITS, element=WIDE)
    tape.new("words, masks of words and of labels", tokens.inner, LOGITS, element=INDEX + 2)
    # Forward, the logits themselves beside what is kept of them; backward, their gradient in the parameters' type.
    return Kept(tape.saved, logits * setting.element)
