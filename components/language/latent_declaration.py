"""What a spec says of attention whose keys and values are made of a narrow vector per token (torch-free)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrs import field, fields, frozen

from composer.finding import Finding
from composer.ranges import positive, whole

if TYPE_CHECKING:
    from components.language.attention_declaration import Attention


def _doc(text: str) -> dict[str, str]:
    return {"description": text}


BESIDE_LATENT = ("heads", "kv_heads", "head_dim", "scale", "scale_dim", "softcap", "values", "latent")
"""What else of an attention counts where it has a latent; `values` says so itself."""


@frozen
class Latent:
    """Keys and values of all heads are projected from one normed vector per token, the latent.

    A head's query and key are `head_dim` wide: columns that do not rotate, then `rope_dim` that do. The rotating part
    of the key is projected beside the latent and is the same in every head.
    """

    kv_rank: int = field(metadata=_doc("Width of the latent that keys and values are made of."))
    rope_dim: int = field(metadata=_doc("Columns of a query and key head that rotate, the last ones of `head_dim`."))
    value_dim: int = field(metadata=_doc("Width of one value head."))
    query_rank: int | None = field(
        default=None,
        metadata=_doc("Width of the latent that queries are made of; null: queries are projected at once."),
    )
    norm_eps: float | None = field(
        default=None, metadata=_doc("Epsilon of the norms of latents; null: that of every other norm.")
    )


def check_latent(attention: "Attention", latent: Latent, path: str) -> Iterator[Finding]:
    """Sizes that fit each other, and nothing beside the latent that would have no effect."""
    for name in ("kv_rank", "value_dim"):
        yield from whole(f"{path}.latent.{name}", getattr(latent, name))
    if latent.query_rank is not None:
        yield from whole(f"{path}.latent.query_rank", latent.query_rank)
    yield from positive(f"{path}.latent.norm_eps", latent.norm_eps)
    if latent.rope_dim < 2 or latent.rope_dim % 2:
        yield Finding(f"{path}.latent.rope_dim", f"{latent.rope_dim} columns cannot rotate: rotation turns pairs.")
    elif latent.rope_dim >= attention.head_dim:
        message = (
            f"{latent.rope_dim} rotating columns leave none of head_dim: {attention.head_dim} ({{0}}) to the latent."
        )
        yield Finding(f"{path}.latent.rope_dim", message, (f"{path}.head_dim",))
    if attention.kv_heads != attention.heads:
        message = f"{attention.kv_heads}: a latent makes keys and values for each of heads: {attention.heads} ({{0}})."
        yield Finding(f"{path}.kv_heads", message, (f"{path}.heads",))
    for each in fields(type(attention)):
        if each.name not in BESIDE_LATENT and getattr(attention, each.name) != each.default:
            yield Finding(f"{path}.{each.name}", "has no effect beside latent, which has projections of its own.")
    if attention.values.keys:
        yield Finding(f"{path}.values.keys", "has no effect beside latent, which makes values of its own.")
