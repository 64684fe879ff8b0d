"""Where the rotation of each layer kind stands in the one tensor that all layers are handed (torch-free)."""

from typing import TYPE_CHECKING, Literal

from attrs import evolve, frozen

if TYPE_CHECKING:
    from components.language.gpt_declaration import Gpt, Layer
    from components.language.rope_declaration import Rope


@frozen
class Columns:
    """Columns `start` to `stop` of the rotation tensor, one for each pair of a head, and which columns a pair is."""

    start: int
    stop: int
    pairs: Literal["halves", "adjacent"] = "halves"

    @property
    def width(self) -> int:
        """How many of a head's columns they rotate."""
        return 2 * (self.stop - self.start)


def rotating_dim(layer: "Layer") -> int:
    """Width of what a layer kind rotates, or may rotate a part of: a head, or the last columns of one; 0: nothing."""
    return 0 if layer.attention is None else layer.attention.rotating_dim


def rotation_columns(section: "Gpt") -> dict[str, Columns | None]:
    """The columns of each layer kind in use; None where nothing rotates. Kinds with the same angles share theirs."""
    found: dict[str, Columns | None] = {}
    known: dict[tuple[int, Rope], tuple[int, int]] = {}
    for kind, layer in _kinds(section):
        if layer.rope is None:
            found[kind] = None
            continue
        width = layer.rope.width(rotating_dim(layer))
        angles = (width, evolve(layer.rope, pairs="halves"))
        end = max((stop for _, stop in known.values()), default=0)
        start, stop = known.setdefault(angles, (end, end + width // 2))
        found[kind] = Columns(start, stop, layer.rope.pairs)
    return found


def num_rotation_columns(section: "Gpt") -> int:
    """Columns of the rotation tensor."""
    return max((each.stop for each in rotation_columns(section).values() if each is not None), default=0)


def has_sections(section: "Gpt") -> bool:
    """Whether some layer kind rotates by height and width too."""
    return any(layer.rope is not None and layer.rope.sections is not None for _, layer in _kinds(section))


def _kinds(section: "Gpt") -> list[tuple[str, "Layer"]]:
    known = section.layers.kinds  # a spec that names others is refused
    return [(kind, known[kind]) for kind in dict.fromkeys(section.layers.order) if kind in known]
