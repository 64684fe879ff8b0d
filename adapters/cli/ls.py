"""`vlm-composer ls`: the specs that come with the package."""

from adapters.cli.arguments import shipped_specs
from composer import Graph, load


def ls() -> None:
    """List the shipped specs: name, description, and the size that the default configuration gives."""
    from rich.table import Table

    from adapters.screen import screen

    table = Table("name", "description", "default", box=None, pad_edge=False, header_style="bold")
    for name, path in shipped_specs().items():
        graph = load(path)
        table.add_row(name, graph.description, size(graph))
    screen().print(table)


def size(graph: Graph) -> str:
    """The default configuration in a few words, e.g. `gemma4_26b_a4b: 30 layers of 2816`."""
    sizes = getattr(graph.decoder().config, "config", None)
    layers, width = getattr(sizes, "num_layers", None), getattr(sizes, "hidden_size", None)
    of = f"{layers} layers of {width}" if layers and width else "fixed"
    default = graph.hf.default if graph.hf else None
    return f"{default.rpartition('/')[2].removesuffix('.json')}: {of}" if default else of
