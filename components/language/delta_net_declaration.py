"""What a gated delta net takes in a spec: a mixer of tokens in place of attention (torch-free)."""

from collections.abc import Iterator

from attrs import field, frozen

from composer.finding import Finding
from composer.ranges import whole


def _doc(text: str) -> dict[str, str]:
    return {"description": text}


@frozen
class DeltaNet:
    """A gated delta net: every value head reads and rewrites a matrix as it goes along the tokens of a document."""

    key_heads: int = field(metadata=_doc("Query and key heads."))
    value_heads: int = field(metadata=_doc("Value heads, as many for each key head; `key_heads` divides them."))
    key_dim: int = field(metadata=_doc("Width of one query or key head."))
    value_dim: int = field(metadata=_doc("Width of one value head."))
    conv: int = field(
        default=4, metadata=_doc("Tokens that the convolution before queries, keys and values sees: itself, earlier.")
    )

    @property
    def values_per_key(self) -> int:
        """Value heads of one key head."""
        return self.value_heads // self.key_heads

    @property
    def convolved(self) -> int:
        """Channels of one key head that are convolved: its query, its key, its values."""
        return 2 * self.key_dim + self.values_per_key * self.value_dim

    @property
    def recurrent(self) -> int:
        """Channels of one key head that the rule reads: the convolved ones, strength and decay of each value head."""
        return self.convolved + 2 * self.values_per_key

    @property
    def projected(self) -> int:
        """Channels of one key head in all: those of the rule, and the gates of its values."""
        return self.recurrent + self.values_per_key * self.value_dim


def check_delta_net(part: DeltaNet, path: str) -> Iterator[Finding]:
    """Sizes that fit."""
    for name in ("key_heads", "value_heads", "key_dim", "value_dim", "conv"):
        yield from whole(f"{path}.{name}", getattr(part, name))
    if part.key_heads > 0 and part.value_heads > 0 and part.value_heads % part.key_heads:
        message = f"{part.value_heads} is no multiple of key_heads: {part.key_heads} ({{0}})."
        yield Finding(f"{path}.value_heads", message, (f"{path}.key_heads",))
