"""The share of a decoder's experts that each token passes."""

from components.language.gpt_declaration import Gpt
from components.language.gpt_declaration import active_experts as of_gpt
from composer.graph import Graph


def active_experts(graph: Graph) -> float:
    """top_k / num_experts; 1 for a decoder without experts, or of a component that says nothing of them."""
    config = graph.decoder().config
    return of_gpt(config) if isinstance(config, Gpt) else 1.0
