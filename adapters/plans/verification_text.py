"""A verification as plain text for people."""

import re
from collections import defaultdict

from adapters.plans.verify import CheckedRank, Difference, Verification
from composer.plans.layout import Layout

NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def verification_text(verification: Verification) -> str:
    """What was compared, then every difference; those that differ by layer or expert alone on one line."""
    execution = verification.execution
    layout, kinds = _layout_text(execution.layout), len(verification.ranks)
    built = f"built one rank of each of {kinds} kinds on the meta device."
    lines = [f"{verification.model} on {execution.gpus} ranks ({layout}): {built}"]
    lines += [_rank_text(each, execution.layout) for each in verification.ranks]
    if verification.real:
        lines.append("Places, layers, parameter names and shapes are equal to the plan's.")
    else:
        lines.append(f"{len(verification.differences)} differences:")
        lines += [f"  {line}" for line in _folded(verification.differences)]
    return "\n".join(lines)


def _layout_text(layout: Layout) -> str:
    sizes = {name: getattr(layout, name) for name in ("tp", "pp", "virtual_stages", "cp", "ep", "etp")}
    return ", ".join(f"{name} {size}" for name, size in sizes.items() if size > 1) or "data parallel only"


def _rank_text(checked: CheckedRank, layout: Layout) -> str:
    first, *others = checked.kind.pipeline_ranks
    alike = f" and {len(others)} alike" if others else ""
    expert = f", expert rank {checked.kind.expert_rank} of {layout.ep}" if layout.ep > 1 else ""
    return (
        f"  rank {checked.rank}: pipeline rank {first} of {layout.pp}{alike}{expert}: {checked.holds}: "
        f"{checked.parameters:,} parameters, {checked.elements:,} elements"
    )


def _folded(differences: tuple[Difference, ...]) -> list[str]:
    groups: dict[tuple[str, ...], list[Difference]] = defaultdict(list)
    for each in differences:
        # What concerns no single parameter is said once, for all the ranks.
        where = each.where if each.name else ""
        groups[where, NUMBER.sub("*", each.name), each.what].append(each)
    return [_one_line(group) for group in groups.values()]


def _one_line(group: list[Difference]) -> str:
    first, *others = group
    if not others:
        return str(first)
    if not first.name:
        return f"{', '.join(each.where for each in group)}: {first.what}"
    return f"{first} (and {len(others)} like it)"
