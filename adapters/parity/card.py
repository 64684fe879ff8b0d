"""A model's card under `docs/models/`: what was compared, and how far apart it was."""

from pathlib import Path

from adapters.model_pages import proven_layouts
from adapters.parity.report import (
    EMBEDDINGS_BOUND,
    GRADIENT_BOUND,
    LOGITS_BOUND_OF_STATES,
    LOSS_BOUND,
    ParityReport,
    VariantReport,
)

HEADINGS = (
    "| variant | parameters | embeddings | masks | logits | loss | gradients | worst gradient "
    "| checkpoint → here → checkpoint |"
)

STATES = (
    "The bound of the logits is that of every spec whose layers keep a state (`delta_net`): rounding that one token",
    "leaves in it is passed on to all later ones.",
)


def write_card(report: ParityReport, folder: str | Path) -> Path:
    """Write `<folder>/<spec>.md` and return its path.

    Raises:
        ValueError: the report is red; a card is a claim.
    """
    if not report.green:
        raise ValueError(f"{report.spec} has no parity: no card is written")
    path = Path(folder) / f"{report.spec}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(card(report, proven_layouts(path.parent, report.spec)), encoding="utf-8")
    return path


def card(report: ParityReport, layouts: dict[str, tuple[str, ...]]) -> str:
    """The card as Markdown. layouts: that are proved, by model."""
    classes = " and ".join(f"`{name}`" for name in report.architecture.split(" and "))
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    lines = [
        f"# {report.spec}",
        "",
        f"Measured against {classes} of transformers: tiny random models in float32 on the CPU, weights",
        "loaded from a checkpoint that transformers saved, every parameter and persistent buffer perturbed. The batch",
        "has several pictures, adjacent ones, one longer than the window, and padding on either side.",
        "",
        "Masks are compared cell by cell, for each layer kind; other errors are relative, norm-wise. Bounds:",
        f"embeddings after placement {EMBEDDINGS_BOUND:.0e}, logits {report.logits_bound:.0e}, loss {LOSS_BOUND:.0e},",
        f"each gradient {GRADIENT_BOUND:.0e}.",
        *(STATES if report.logits_bound == LOGITS_BOUND_OF_STATES else ()),
        f"{versions}; {report.lines} lines of YAML.",
        "",
        HEADINGS,
        "|---|---|---|---|---|---|---|---|---|",
        *map(_line, report.variants),
        "",
        *_layouts(report.spec, layouts),
        f"Again: `vlm-composer parity {report.spec}`",
        "",
    ]
    return "\n".join(lines)


def _layouts(spec: str, layouts: dict[str, tuple[str, ...]]) -> list[str]:
    if not layouts:
        return []
    proved = [f"- {model}: {', '.join(names)}" for model, names in layouts.items()]
    return [f"The same numbers as on one rank, measured in [{spec}.layouts.md]({spec}.layouts.md):", "", *proved, ""]


def _line(variant: VariantReport) -> str:
    if variant.skipped or not (variant.embeddings and variant.logits and variant.loss and variant.worst_gradient):
        return f"| {variant.name} | not made: {variant.skipped} | | | | | | | |"
    worst = variant.worst_gradient
    cells = (
        variant.name,
        f"{variant.parameters:,}",
        f"{variant.embeddings.error:.1e}",
        "different" if any(variant.masks.values()) else "equal",
        f"{variant.logits.error:.1e}",
        f"{variant.loss.error:.1e}",
        f"{len(variant.gradients)}",
        f"{worst.error:.1e} `{worst.name}`",
        "same bits",
    )
    return f"| {' | '.join(cells)} |"
