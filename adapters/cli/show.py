"""`vlm-composer show`: draw a spec's graph."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from adapters.cli.arguments import Hf, Overrides, Spec, load_graph

Format = Literal["terminal", "svg", "json", "mermaid"]


def show(
    spec: Spec,
    /,
    *,
    hf: Hf = None,
    set_: Overrides = [],  # noqa: B006 (cyclopts reads the default)
    format: Annotated[Format, Parameter(help="How to draw it.")] = "terminal",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], help="Write to this file [the screen].")] = None,
) -> None:
    """Draw a spec's graph: nodes, what flows between them, and who may attend to whom."""
    graph = load_graph(spec, hf, set_)
    from composer import views

    if format == "terminal":
        from rich.console import Console

        with output.open("w", encoding="utf-8") if output else nullcontext() as file:
            Console(file=file).print(views.to_terminal(graph))
        return
    drawings = {"svg": views.to_svg, "json": views.to_json, "mermaid": views.to_mermaid}
    text = drawings[format](graph).rstrip("\n") + "\n"
    if output is None:
        print(text, end="")
    else:
        output.write_text(text, encoding="utf-8")
