"""Makes an inventory: builds the composed model on the meta device, and runs its towers and projectors there."""

from attrs import evolve
from torch import nn

from adapters.plans.encoder_costs import encoder_costs, estimated
from adapters.plans.meta_model import fake_rank, meta_model
from adapters.plans.parameter_parts import model_parameters
from composer.graph import Graph
from composer.plans.content import content_hash
from composer.plans.inventory import EncoderCosts, Inventory
from composer.plans.layout import Layout


def make_inventory(graph: Graph) -> Inventory:
    """The inventory of a checked graph. This process must have no process groups."""
    with fake_rank(0, 1, Layout()):
        model = meta_model(graph, Layout())
        parameters = model_parameters(graph, model)
        problems: list[str] = []
        problems += (f"{name} encodes tiles: count them as images" for name in graph.nodes if _tiled(graph, name))
        encoders = [
            evolve(_costs(graph, name, getattr(model, name), problems), reads=_reads(graph, name))
            for name in model.program.encoders
        ]
    return Inventory(
        graph=content_hash(graph),
        name=graph.name,
        parameters=tuple(parameters),
        encoders=tuple(encoders),
        tied=model.program.tied,
        problems=tuple(problems),
    )


def _tiled(graph: Graph, node: str) -> bool:
    return getattr(graph.nodes[node].config, "tiles", None) is not None


def _reads(graph: Graph, node: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(edge.source.owner for edge in graph.edges_to(node) if edge.source.owner in graph.nodes))


def _costs(graph: Graph, node: str, module: nn.Module, problems: list[str]) -> EncoderCosts:
    try:
        return encoder_costs(graph, node, module)
    except Exception as error:  # noqa: BLE001 (a library's code: whatever it stumbles over, there is still a plan)
        problems.append(
            f"{node} could not be run without real inputs ({str(error) or type(error).__name__}): its time and memory "
            "are estimated from its parameters"
        )
        return estimated(graph, node, module)
