"""Pages of a model under `docs/models`: the table of layouts as a file, and what its card reads back from it."""

from pathlib import Path

HEADINGS = ("model", "layout", "ranks", "loss", "gradients", "packed", "rows turned", "images a rank")


def page_file(folder: Path, spec: str) -> Path:
    """Where a spec's table of layouts lies."""
    return folder / f"{spec}.layouts.md"


def row(cells: tuple[str, ...]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def proven_layouts(folder: Path, spec: str) -> dict[str, tuple[str, ...]]:
    """The layouts of a spec's page, by model; none where there is no page. A page is written only if all are proved."""
    file = page_file(folder, spec)
    if not file.exists():
        return {}
    lines = file.read_text(encoding="utf-8").splitlines()
    table = lines[lines.index(row(HEADINGS)) + 2 :]
    found: dict[str, list[str]] = {}
    for line in table:
        if line.startswith("|"):
            model, layout = (cell.strip() for cell in line.split("|")[1:3])
            found.setdefault(model, []).append(layout)
    return {model: tuple(layouts) for model, layouts in found.items()}
