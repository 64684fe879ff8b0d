"""Builds ranks of a job on the meta device, one after the other in one process, and says what they hold."""

from megatron.core import parallel_state

from adapters.megatron.parameter_names import canonical_names
from adapters.plans.meta_model import fake_rank, meta_model
from adapters.plans.verify import BuiltRank, BuiltStage
from composer.graph import Graph
from composer.plans.execution import Execution
from composer.plans.layout import Layout


def build_ranks(graph: Graph, execution: Execution, ranks: tuple[int, ...]) -> list[BuiltRank]:
    """Some ranks of a job, with all their virtual stages. This process must have no process groups."""
    return [_build_rank(graph, execution, rank) for rank in ranks]


def _build_rank(graph: Graph, execution: Execution, rank: int) -> BuiltRank:
    layout = execution.layout
    try:
        with fake_rank(rank, execution.gpus, layout):
            places = (
                parallel_state.get_pipeline_model_parallel_rank(),
                parallel_state.get_expert_model_parallel_rank(),
            )
            return BuiltRank(*places, tuple(_build_stages(graph, layout)))
    except (AssertionError, RuntimeError, ValueError) as error:
        # How Megatron-Core and this project refuse a layout. Whoever asks wants to read it beside the other ranks.
        return BuiltRank(-1, -1, (), failure=str(error) or type(error).__name__)


def _build_stages(graph: Graph, layout: Layout) -> list[BuiltStage]:
    places = range(layout.virtual_stages) if layout.virtual_stages > 1 else (None,)
    stages = []
    for place in places:
        model = meta_model(graph, layout, vp_stage=place)
        layers = tuple(layer.layer_number - 1 for layer in model.decoder_node.decoder.layers)
        shapes = {name: tuple(parameter.shape) for name, parameter in canonical_names(model).items()}
        stages.append(BuiltStage(layers, shapes))
    return stages
