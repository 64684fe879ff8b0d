"""`vlm-composer validate`: check a spec without building anything."""

from adapters.cli.arguments import Hf, Overrides, Spec, load_graph
from adapters.huggingface.export_form import export_problems


def validate(spec: Spec, /, *, hf: Hf = None, set_: Overrides = []) -> None:  # noqa: B006 (cyclopts reads the default)
    """Check a spec; every problem is reported with its line. Also says what keeps the model from being exported.

    Exit status 2 if there is a problem.
    """
    graph = load_graph(spec, hf, set_)
    print(f"{graph.name}: valid ({len(graph.nodes)} nodes, {len(graph.edges)} edges, {len(graph.inputs)} inputs)")
    if problems := export_problems(graph):
        print(f"cannot be exported as {graph.architecture or 'a model of transformers'}, only trained and saved:")
        print("\n".join(f"  {problem}" for problem in problems))
