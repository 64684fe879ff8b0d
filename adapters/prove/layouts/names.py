"""Layouts as words: `tp2`, `pp2`, `tp2xpp2`."""

import re
from typing import Any

from attrs import evolve, frozen

from composer.plans.layout import Layout, layout_findings

EVERY_LAYOUT = "tp2,tp2xsp,pp2,pp2xvp2,ep2,ep2xtp2,cp2,cp2xtp2,dp2xdo,pp2xtp2,pp2xep2"
ROWS = 4
"""Micro-batches of a global batch, of one row each: each data-parallel rank must get one."""

_SIZES = {"tp": "tp", "pp": "pp", "vp": "virtual_stages", "cp": "cp", "ep": "ep", "etp": "etp", "dp": "dp"}
_SWITCHES = {"sp": "sequence parallel", "do": "distributed optimizer"}


class LayoutError(ValueError):
    """Text that is no layout."""


@frozen
class NamedLayout:
    """A layout, what it is called, and how many data-parallel ranks it has."""

    name: str
    layout: Layout
    data_ranks: int = 1
    distributed_optimizer: bool = False

    @property
    def ranks(self) -> int:
        """Processes in all."""
        return self.layout.model_ranks * self.data_ranks

    def for_model(self, *, experts: bool) -> "NamedLayout | None":
        """The layout for one model: experts need sequence parallelism beside tensor parallelism; None: it has no
        experts to share out.
        """
        layout = self.layout
        if layout.ep * layout.etp > 1 and not experts:
            return None
        if layout.tp > 1 and experts:
            layout = evolve(layout, sequence_parallel=True)
        return evolve(self, layout=layout)


def parse_layouts(text: str) -> tuple[NamedLayout, ...]:
    """Layouts separated by commas, each of words joined by `x`: a letter code and a size, or a switch.

    Codes: tp, pp, vp (virtual stages), cp, ep, etp, dp; switches: sp (sequence parallel), do (distributed optimizer).
    Where `dp` is not said, it is as small as experts allow.

    Raises:
        LayoutError: a word that is none, or sizes that contradict each other.
    """
    return tuple(_parse(name.strip()) for name in text.split(","))


def _parse(name: str) -> NamedLayout:
    sizes: dict[str, Any] = {}
    switches = set()
    for word in name.split("x"):
        found = re.fullmatch(r"([a-z]+)([1-9]\d*)?", word)
        code, size = found.groups() if found else ("", None)
        if code in _SWITCHES and size is None:
            switches.add(code)
        elif code in _SIZES and size is not None:
            sizes[_SIZES[code]] = int(size)
        else:
            known = ", ".join(f"{code}N" for code in _SIZES)
            raise LayoutError(f"{name!r}: {word!r} is no part of a layout; there are {known}, {', '.join(_SWITCHES)}")
    data_ranks = sizes.pop("dp", None)
    layout = Layout(**sizes, sequence_parallel="sp" in switches)
    if findings := layout_findings(layout):
        raise LayoutError(f"{name!r}: {findings[0][0]}: {findings[0][1]}")
    ranks, experts = layout.tp * layout.cp, layout.ep * layout.etp
    data_ranks = data_ranks or layout.fewest_data_ranks
    if ranks * data_ranks % experts:
        raise LayoutError(
            f"{name!r}: experts are shared by {experts} ranks, of {ranks * data_ranks} with the same layers"
        )
    if data_ranks > ROWS:
        raise LayoutError(f"{name!r}: {data_ranks} data-parallel ranks; the proofs have {ROWS} samples")
    return NamedLayout(name, layout, data_ranks, "do" in switches)
