"""Marks of a drawing, as SVG text. Lengths in px."""

from collections.abc import Mapping
from html import escape

SANS = "ui-sans-serif, system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
MONO = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"

INK = "#0f172a"
GREY = "#64748b"
PALE = "#e2e8f0"


def mark(name: str, content: str | None = None, /, **attributes: object) -> str:
    """An element; underscores in attribute names stand for hyphens, and floats are rounded."""
    words = [name, *(f'{key.rstrip("_").replace("_", "-")}="{_value(value)}"' for key, value in attributes.items())]
    return f"<{' '.join(words)}/>" if content is None else f"<{' '.join(words)}>{content}</{name}>"


def rect(x: float, y: float, width: float, height: float, radius: float = 0, **style: object) -> str:
    """A rectangle, with round corners if `radius` is not 0."""
    corners: Mapping[str, object] = {"rx": radius} if radius else {}
    return mark("rect", x=x, y=y, width=width, height=height, **corners, **style)


def text(x: float, y: float, words: str, size: float = 12, *, mono: bool = False, **style: object) -> str:
    """A line of text with its baseline at y."""
    attributes = {"font_size": size, "fill": INK} | style
    family: Mapping[str, object] = {"font_family": MONO} if mono else {}
    return mark("text", escape(words, quote=False), x=x, y=y, **family, **attributes)


def text_width(words: str, size: float = 12, *, mono: bool = False, bold: bool = False) -> float:
    """About how wide a line of text gets; rather too much than too little, since fonts differ."""
    return len(words) * size * (0.61 if mono else 0.65 if bold else 0.59)


def wrap(words: str, width: float, size: float) -> list[str]:
    """Words in lines of at most about that width."""
    lines: list[str] = []
    for word in words.split():
        if lines and text_width(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _value(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else escape(str(value))
