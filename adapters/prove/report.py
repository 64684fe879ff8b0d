"""What the proofs found."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrs import frozen

from adapters.screen import screen

if TYPE_CHECKING:
    from rich.console import Console

UNCHANGED_BOUND = 1e-5  # relative, per token: another grouping of tokens by expert rounds differently
SHOWN = 8


@frozen
class KindProof:
    """Every feature row perturbed in turn, with one layer of one kind attending."""

    kind: str
    rule: str
    rows: int
    earlier_in_run: int
    """Earlier tokens of the same stretch of placeholders that changed, over all rows."""
    text_after: int
    """Later text tokens that changed."""
    text_before: int
    """Earlier text tokens that changed: never right."""
    largest_unchanged: float
    """Largest relative change of a token that must not change."""
    smallest_changed: float
    """Smallest relative change of a token that must change."""
    problems: tuple[str, ...] = ()


@frozen
class FreezeProof:
    """One choice of frozen roles, and whether exactly the other nodes' parameters got gradient."""

    frozen: tuple[str, ...]
    reached: tuple[str, ...]
    problems: tuple[str, ...] = ()


@frozen
class ProveReport:
    """All proofs of a spec."""

    spec: str
    kinds: tuple[KindProof, ...]
    freezes: tuple[FreezeProof, ...]

    @property
    def green(self) -> bool:
        return bool(self.kinds) and bool(self.freezes) and not any(self.failures())

    @property
    def exit_code(self) -> int:
        return 0 if self.green else 1

    def failures(self) -> Iterator[str]:
        """Everything wrong, a line each."""
        for proof in self.kinds:
            yield from (f"{proof.kind}: {problem}" for problem in proof.problems[:SHOWN])
            if len(proof.problems) > SHOWN:
                yield f"{proof.kind}: and {len(proof.problems) - SHOWN} more"
        for proof in self.freezes:
            yield from (f"frozen {_names(proof.frozen)}: {problem}" for problem in proof.problems)

    def print(self, console: "Console | None" = None) -> None:
        """Two tables, then what is wrong."""
        from rich.table import Table

        console = console or screen()
        table = Table(title=f"{self.spec}: who changes with a feature row", title_justify="left")
        table.add_column("one layer alone", no_wrap=True)
        for heading in ("rows", "earlier in run", "text after", "text before", "others ≤"):
            table.add_column(heading, justify="right")
        for proof in self.kinds:
            counts = (proof.rows, proof.earlier_in_run, proof.text_after, proof.text_before)
            cells = (proof.kind, *map(str, counts), f"{proof.largest_unchanged:.0e}")
            table.add_row(*cells, style="red" if proof.problems else None)
        console.print(table)
        for rule in dict.fromkeys(f"{proof.kind}: {proof.rule}" for proof in self.kinds):
            console.print(rule, markup=False, highlight=False)
        console.print()
        table = Table("frozen", "gradient reaches", title=f"{self.spec}: where gradient goes", title_justify="left")
        for proof in self.freezes:
            table.add_row(_names(proof.frozen), _names(proof.reached), style="red" if proof.problems else None)
        console.print(table)
        for line in self.failures():
            console.print(line, style="red", markup=False, highlight=False)
        console.print("proved" if self.green else "NOT PROVED")


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "nothing"
