"""What latent attention keeps, from the normed input to what the output projection reads.

Legend: N heads on this rank, D width of a query and key head, R of its rotating part, V of a value head, L of the
latent; see `components.language.latent_attention`.
"""

from components.language.attention_declaration import Attention
from components.language.costs.core_attention import keep_attended, keep_scores, kernel, recomputes
from components.language.costs.norms import rms_norm
from components.language.costs.tape import Stored, Tape, Tokens
from components.language.latent_declaration import Latent
from composer.plans.costs import Setting

PART = "attention"


def latent_attention(tape: Tape, part: Attention, latent: Latent, kind: str, hidden: int, setting: Setting) -> None:
    """Projections to latents and from them, their norms, attention; not the norm behind the output projection."""
    tokens, heads = Tokens.of(setting), part.heads // setting.layout.tp
    tape.new("attention input", tokens.outer * hidden, PART, "weights")
    if latent.query_rank is not None:
        rank = tokens.outer * latent.query_rank
        rms_norm(tape, Stored.whole("query latent", rank), tokens.outer, "query latent norm", setting)
        tape.new("query latent normed", rank, PART, "weights")
    given = Stored(
        "latent and turning", tokens.outer * (latent.kv_rank + latent.rope_dim), tokens.outer * latent.kv_rank
    )
    rms_norm(tape, given, tokens.outer, "latent norm", setting)
    # Rotation saves cosines and sines alone, which the whole stage shares; rotated and plain columns are joined anew.
    query = Stored.whole("query", tokens.inner * heads * part.head_dim)
    keep_attended(tape, query, part)
    tape.keep(query, PART)
    if recomputes(setting):
        tape.new("turned", tokens.inner * latent.rope_dim, PART)
        # Under context parallelism it has been gathered over tensor-parallel ranks.
        held = tokens.inner if setting.layout.cp > 1 else tokens.outer
        tape.new("latent normed", held * latent.kv_rank, PART)
        return
    _keys_and_values(tape, part, latent, heads, setting)
    keep_scores(tape, query, part, kernel(part, kind, setting), setting)


def _keys_and_values(tape: Tape, part: Attention, latent: Latent, heads: int, setting: Setting) -> None:
    """Of all tokens under context parallelism, made of latents that were gathered; the projection saves its input."""
    tokens = Tokens.of(setting)
    everyone = tokens.all
    if setting.layout.cp > 1:
        tape.new("gathered latents", everyone * (latent.kv_rank + latent.rope_dim), PART, "weights")
    else:
        tape.new("latent normed", tokens.outer * latent.kv_rank, PART, "weights")
    plain = part.head_dim - latent.rope_dim
    # Values are a view of what was projected.
    tape.new("plain keys and values", everyone * heads * (plain + part.value_dim), PART)
    tape.new("key", everyone * heads * part.head_dim, PART)
