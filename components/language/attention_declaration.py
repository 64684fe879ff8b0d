"""What a spec says of the attention of one layer kind (torch-free)."""

from collections.abc import Iterator
from typing import Literal

from attrs import field, frozen

from components.language.latent_declaration import Latent, check_latent
from components.language.temperature_declaration import Temperature, check_temperature
from composer.finding import Finding
from composer.ranges import positive, whole


def _doc(text: str) -> dict[str, str]:
    return {"description": text}


@frozen
class Values:
    """Where a layer's values come from."""

    keys: bool = field(default=False, metadata=_doc("Values are the un-normalised keys (K = V): no value projection."))


@frozen
class Attention:
    """Self-attention of one layer kind."""

    heads: int = field(metadata=_doc("Query heads."))
    kv_heads: int = field(metadata=_doc("Key/value heads; divides `heads`."))
    head_dim: int = field(metadata=_doc("Width of one head; with `latent`, of a query and a key."))
    scale: float | None = field(default=None, metadata=_doc("Factor on query·key; null: head_dim ** -0.5."))
    scale_dim: int | None = field(
        default=None, metadata=_doc("In place of `scale`: the width whose inverse square root is the factor.")
    )
    softcap: float | None = field(
        default=None, metadata=_doc("Scaled scores become cap · tanh(scores / cap), before the mask; null: they stay.")
    )
    q_norm: Literal["none", "rms", "scale_free"] = field(
        default="none", metadata=_doc("Norm of each query head, before rotation.")
    )
    k_norm: Literal["none", "rms", "scale_free"] = field(
        default="none", metadata=_doc("Norm of each key head, before rotation.")
    )
    v_norm: Literal["none", "scale_free"] = field(default="none", metadata=_doc("Norm of each value head."))
    values: Values = field(factory=Values, metadata=_doc("Where values come from."))
    bias: bool = field(default=False, metadata=_doc("Bias on the query, key and value projections."))
    output_gate: Literal["none", "sigmoid"] = field(
        default="none",
        metadata=_doc("sigmoid: each query head has a gate beside it, which its output is multiplied by."),
    )
    temperature: Temperature | None = field(
        default=None, metadata=_doc("Queries grow with their position in the document; null: they do not.")
    )
    latent: Latent | None = field(
        default=None,
        metadata=_doc("Keys and values come from a narrow vector per token; null: from the layer's input."),
    )

    @property
    def value_dim(self) -> int:
        """Width of one value head."""
        return self.head_dim if self.latent is None else self.latent.value_dim

    @property
    def rotating_dim(self) -> int:
        """Width of what rotates of a query or key head, or may rotate in part."""
        return self.head_dim if self.latent is None else self.latent.rope_dim

    @property
    def score_scale(self) -> float:
        """Factor on query·key."""
        if self.scale is not None:
            return self.scale
        return float((self.head_dim if self.scale_dim is None else self.scale_dim) ** -0.5)


def check_attention(attention: Attention, path: str) -> Iterator[Finding]:
    """Heads that there are, and one factor on scores."""
    yield from whole(f"{path}.heads", attention.heads)
    if attention.kv_heads < 1 or attention.heads % attention.kv_heads:
        message = f"{attention.kv_heads} does not divide heads: {attention.heads} ({{0}})."
        yield Finding(f"{path}.kv_heads", message, (f"{path}.heads",))
    yield from whole(f"{path}.head_dim", attention.head_dim, 2)
    if attention.latent is not None:
        yield from check_latent(attention, attention.latent, path)
    elif attention.head_dim > 0 and attention.head_dim % 2:
        yield Finding(f"{path}.head_dim", f"{attention.head_dim} is odd: rotation turns pairs.")
    yield from positive(f"{path}.softcap", attention.softcap)
    if attention.temperature is not None:
        yield from check_temperature(attention.temperature, f"{path}.temperature")
    if attention.scale_dim is not None:
        yield from whole(f"{path}.scale_dim", attention.scale_dim)
        if attention.scale is not None:
            message = "scale and scale_dim both say what scores are multiplied by. Leave one out ({0})."
            yield Finding(f"{path}.scale_dim", message, (f"{path}.scale",))
