"""How queries grow with their position, as a spec says it (torch-free)."""

from collections.abc import Iterator

from attrs import field, frozen

from composer.finding import Finding
from composer.ranges import positive


@frozen
class Temperature:
    """Queries are multiplied by log1p(floor((position + 1) / floor_scale)) · attn_scale + 1."""

    floor_scale: float = field(metadata={"description": "Positions up to this one stay as they are."})
    attn_scale: float = field(metadata={"description": "How fast they grow beyond it."})


def check_temperature(temperature: Temperature, path: str) -> Iterator[Finding]:
    """Numbers above zero."""
    yield from positive(f"{path}.floor_scale", temperature.floor_scale)
    yield from positive(f"{path}.attn_scale", temperature.attn_scale)
