"""What each node costs in a stage: memory of what trains, and FLOPs of the forward and the backward pass.

The rule is Cornstarch's (arXiv 2503.11367): what costs F forward costs F backward if it trains, for the gradient of its
weights, and F more if anything before it trains, for the gradient of its input. It is applied to every weight: within a
node, before it is what the module lists before it. Attention scores and recomputation are not counted:
`vlm-composer plan parallel` counts them.
"""

from collections.abc import Iterable
from typing import Literal

from attrs import frozen

from composer.graph import Graph
from composer.network import upstream
from composer.plans.inventory import Inventory, Parameter

Precision = Literal["bf16", "fp32"]

GRADIENT_BYTES = 4
"""Gradients are summed in fp32 buffers, in either precision (adapters/megatron/replicas.py)."""
OPTIMIZER_BYTES: dict[Precision, int] = {"bf16": 12, "fp32": 8}
"""AdamW's two moments in fp32; beside bf16 parameters also fp32 ones (adapters/megatron/optimizer.py)."""


@frozen
class NodeCosts:
    """Of a node in a stage, of the whole model before it is shared out over ranks.

    parameters, trained: elements. gradient_bytes, optimizer_bytes: of what trains. forward_flops, backward_flops: of
    one row, which is a token of the decoder and a feature row (a placeholder token) of a tower or projector.
    """

    node: str
    role: str
    parameters: int
    trained: int
    gradient_bytes: int
    optimizer_bytes: int
    autograd: bool
    """False: nothing trains in it or before it; it runs without autograd, and keeps nothing for a backward pass."""
    frozen_layers: int
    """Of the decoder: first layers that run without autograd."""
    forward_flops: float
    backward_flops: float


def node_costs(
    trained: frozenset[str],
    inventory: Inventory,
    graph: Graph,
    *,
    precision: Precision = "bf16",
    active_experts: float = 1.0,
) -> tuple[NodeCosts, ...]:
    """Costs of every node, in the order of the spec.

    Args:
        trained: names of the parameters that train.
        inventory: of the graph.
        graph: decides what is before what.
        precision: of parameters and activations.
        active_experts: share of the experts that each token passes (top_k / num_experts).
    """
    by_node: dict[str, list[Parameter]] = {name: [] for name in graph.nodes}
    for parameter in inventory.parameters:
        by_node[parameter.node].append(parameter)
    training = {name for name, own in by_node.items() if any(each.name in trained for each in own)}
    found = []
    for name, own in by_node.items():
        before = bool(training & upstream(graph, name))
        products = _products(own, trained, inventory, active_experts)
        forward = sum(product.flops for product in products)
        scale = _scale(inventory, name, forward)
        count = sum(each.size for each in own if each.name in trained)
        found.append(
            NodeCosts(
                node=name,
                role=graph.component(name).role,
                parameters=sum(each.size for each in own),
                trained=count,
                gradient_bytes=count * GRADIENT_BYTES,
                optimizer_bytes=count * OPTIMIZER_BYTES[precision],
                autograd=before or name in training,
                frozen_layers=0 if before else _frozen_layers(own, trained),
                forward_flops=forward * scale,
                backward_flops=_backward(products, upstream_trains=before) * scale,
            )
        )
    return tuple(found)


@frozen
class _Product:
    """FLOPs of one row through a weight, and whether the weight trains."""

    flops: float
    trains: bool


def _products(
    parameters: list[Parameter], trained: frozenset[str], inventory: Inventory, active_experts: float
) -> list[_Product]:
    """Of the parameters of a node, in their order; of one that nothing is multiplied with, none."""
    products = [_Product(_flops(each, active_experts), each.name in trained) for each in parameters]
    if inventory.tied:
        # The table is looked up at the entrance, and multiplied with at the exit.
        tables = [each for each in parameters if each.part == "embeddings" and len(each.shape) > 1]
        products += [_Product(2.0 * table.size, table.name in trained) for table in tables]
    return products


def _flops(parameter: Parameter, active_experts: float) -> float:
    if len(parameter.shape) < 2 or parameter.part == "embeddings":
        return 0.0
    return 2.0 * parameter.size * (active_experts if parameter.expert is not None else 1.0)


def _backward(products: Iterable[_Product], *, upstream_trains: bool) -> float:
    total, before = 0.0, upstream_trains
    for product in products:
        total += product.flops * (product.trains + before)
        before = before or product.trains
    return total


def _scale(inventory: Inventory, node: str, counted: float) -> float:
    """What makes the weights of a tower or projector add up to what running it on the meta device has shown.

    A tower pools several patches to a feature row, and may look a table of positions up instead of multiplying with it.
    """
    run = next((costs for costs in inventory.encoders if costs.node == node and costs.traced), None)
    return run.gemm.linear / counted if run and counted else 1.0


def _frozen_layers(parameters: list[Parameter], trained: frozenset[str]) -> int:
    """First decoder layers before anything that trains, where nothing before the decoder does."""
    layers = {parameter.layer for parameter in parameters if parameter.layer is not None}
    training = [parameter for parameter in parameters if parameter.name in trained]
    if any(parameter.part == "embeddings" for parameter in training):
        return 0
    return min((each.layer for each in training if each.layer is not None), default=len(layers))
