"""What autograd keeps of a layer, tensor by tensor: one that several operations keep counts once."""

from typing import Literal

from attrs import define, field, frozen

from composer.plans.costs import Saved, Setting

Needs = Literal["upstream", "weights"]
WIDE = 4  # bytes of float32, which norms, routers and losses compute in


@frozen
class Stored:
    """A tensor's storage. elements: of all of it, which stays while any view of it is kept; own: of the view itself."""

    name: str
    elements: int
    own: int

    @classmethod
    def whole(cls, name: str, elements: int) -> "Stored":
        """A tensor that is no view of a larger one."""
        return cls(name, elements, elements)


@define
class Tape:
    """Storages kept from forward to backward, by name. element: bytes of an activation."""

    element: int
    _kept: dict[str, tuple[str, Needs, int]] = field(factory=dict)

    def keep(self, stored: Stored, part: str, needs: Needs = "upstream", element: int | None = None) -> None:
        """An operation of a part saves a tensor; `weights`: only for the gradient of the part's own parameters."""
        known = self._kept.get(stored.name)
        if known is None or (known[1] == "weights" and needs == "upstream"):
            size = stored.elements * (self.element if element is None else element)
            self._kept[stored.name] = (part, needs, size)

    def keep_wide(self, stored: Stored, part: str, by: str) -> None:
        """An operation saves the tensor in float32: itself if it is, else a copy of the view that nobody else has."""
        if self.element == WIDE:
            self.keep(stored, part)
        else:
            self.keep(Stored.whole(f"{stored.name} in float32 for {by}", stored.own), part, element=WIDE)

    def new(self, name: str, elements: int, part: str, needs: Needs = "upstream", element: int | None = None) -> Stored:
        """A tensor made and saved at once."""
        made = Stored.whole(name, elements)
        self.keep(made, part, needs, element)
        return made

    @property
    def bytes(self) -> int:
        """Of everything kept."""
        return sum(size for _, _, size in self._kept.values())

    @property
    def saved(self) -> tuple[Saved, ...]:
        """Everything kept, summed by part and need."""
        sums: dict[tuple[str, Needs], int] = {}
        for part, needs, size in self._kept.values():
            sums[part, needs] = sums.get((part, needs), 0) + size
        return tuple(Saved(part, size, needs) for (part, needs), size in sums.items())


@frozen
class Kept:
    """Bytes of a layer, or of what stands around the layers; see `Costs`."""

    saved: tuple[Saved, ...] = ()
    transient: int = 0


@frozen
class Tokens:
    """How many tokens one rank computes with, of one micro-batch.

    outer: between tensor-parallel regions, split by sequence parallelism. inner: within them. all: of whole sequences,
    on every context-parallel rank (gathered keys, mask metadata).
    """

    outer: int
    inner: int
    all: int

    @classmethod
    def of(cls, setting: Setting) -> "Tokens":
        """Of a setting; sequences divide evenly, which the engine demands."""
        layout = setting.layout
        whole = setting.micro_batch * setting.seq
        inner = whole // layout.cp
        return cls(inner // layout.tp if layout.sequence_parallel else inner, inner, whole)
