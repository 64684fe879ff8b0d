"""`vlm-composer plan report`: a plan as one HTML page."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from adapters.cli.app import installed_version
from adapters.cli.arguments import load_graph


def report(
    plan: Annotated[Path, Parameter(help="A plan file, from `plan parallel`.")],
    /,
    *,
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], help="HTML file [the plan's, with .html].")
    ] = None,
) -> None:
    """Draw a plan as one HTML page that needs no network: graph, memory, timeline, step time, alternatives, inputs."""
    from adapters.plans.reading import check_graph, read_plan
    from adapters.plans.report.page import report_html

    file = read_plan(plan)
    source = file.plan.model
    graph = load_graph(source.spec, source.hf, list(source.set))
    check_graph(file, graph)
    target = output or plan.with_suffix(".html")
    target.write_text(report_html(file, graph, installed_version()), encoding="utf-8")
    print(target)
