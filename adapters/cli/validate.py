"""`vlm-composer validate`: check a spec without building anything."""

from adapters.cli.arguments import Hf, Overrides, Spec, load_graph


def validate(spec: Spec, /, *, hf: Hf = None, set_: Overrides = []) -> None:  # noqa: B006 (cyclopts reads the default)
    """Check a spec; every problem is reported with its line.

    Exit status 2 if there is one.
    """
    graph = load_graph(spec, hf, set_)
    print(f"{graph.name}: valid ({len(graph.nodes)} nodes, {len(graph.edges)} edges, {len(graph.inputs)} inputs)")
