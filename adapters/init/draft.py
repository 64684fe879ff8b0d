"""A spec in the making: values that say where they were taken from, and what could not be decided."""

from typing import Any

from attrs import define, field, frozen


@frozen
class Said:
    """A value of the spec, and the field, module or measurement it was taken from."""

    value: Any
    source: str


@frozen
class Undecided:
    """Something that only the reader of the model's source can settle.

    `key` is where in the spec to write the answer, `why` what was seen and why it decides nothing.
    """

    key: str
    why: str

    def __str__(self) -> str:
        return f"{self.key}: {self.why}"


@define
class Notes:
    """Collects what is undecided while a draft is made, each once."""

    found: list[Undecided] = field(factory=list)

    def add(self, key: str, why: str) -> None:
        """Note one."""
        note = Undecided(key, why)
        if note not in self.found:
            self.found.append(note)


@frozen
class Draft:
    """The text of a spec, the configuration to keep beside it, and what is left to its reader.

    `shipped` is the name of the shipped spec that it is a copy of, None if it was composed.
    """

    name: str
    text: str
    config: dict[str, Any]
    undecided: tuple[Undecided, ...] = ()
    shipped: str | None = None
