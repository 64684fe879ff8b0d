"""Work of latent attention before attention proper: projections to latents and from them, norms, rotation.

Source: components/language/latent_attention.py.
"""

from collections.abc import Iterator

from components.language.attention_declaration import Attention
from components.language.latent_declaration import Latent
from components.language.work.operations import linear, norm, rotation
from components.language.work.sizes import Tokens
from composer.plans.costs import Setting, Work


def latent_work(part: Attention, latent: Latent, hidden: int, setting: Setting) -> Iterator[Work]:
    """Latents of this rank's tokens (without sequence parallelism, of all tokens on every rank), and its heads."""
    tokens, layout = Tokens.of(setting), setting.layout
    heads, plain = part.heads / layout.tp, part.head_dim - latent.rope_dim
    if latent.query_rank is None:
        yield linear("attention", tokens.whole, hidden, heads * part.head_dim, setting)
    else:
        yield linear("attention", tokens.split, hidden, latent.query_rank, setting)
        yield norm("norms", tokens.split * latent.query_rank, setting)
        yield linear("attention", tokens.whole, latent.query_rank, heads * part.head_dim, setting)
    yield linear("attention", tokens.split, hidden, latent.kv_rank + latent.rope_dim, setting)
    yield norm("norms", tokens.split * latent.kv_rank, setting)
    yield rotation("rotation", tokens.whole * heads * latent.rope_dim, setting)
    yield rotation("rotation", tokens.whole * latent.rope_dim, setting)
    # Context-parallel ranks each make keys and values of all tokens.
    keys = tokens.whole * layout.cp
    yield linear("attention", keys, latent.kv_rank, heads * (plain + part.value_dim), setting)
    # Plain and rotated columns put together.
    joined = (tokens.whole + keys) * heads * part.head_dim
    yield Work("attention", "elementwise", 0, 2 * setting.element * joined, 2)
