"""A small model written by hand: two towers, a projector, and a decoder of four layers with experts."""

from composer.plans.inventory import Inventory, Parameter, Part
from composer.plans.selectors import Scope

NODES = {"eye": "tower", "ear": "tower", "bridge": "projector", "decoder": "decoder"}
SCOPE = Scope(NODES)
LAYERS, EXPERTS = 4, 2


def _layer(index: int) -> list[Parameter]:
    def of(name: str, part: Part, *shape: int, expert: int | None = None) -> Parameter:
        return Parameter(f"decoder.layers.{index}.{name}", "decoder", part, shape, layer=index, expert=expert)

    experts = [
        of(f"mlp.experts.local_experts.{expert}.{half}.weight", "experts", 4, 4, expert=expert)
        for expert in range(EXPERTS)
        for half in ("linear_fc1", "linear_fc2")
    ]
    return [
        of("input_layernorm.weight", "norms", 4),
        of("self_attention.linear_qkv.weight", "attention", 12, 4),
        of("self_attention.q_norm.weight", "norms", 2),
        of("mlp.router.weight", "router", EXPERTS, 4),
        *experts,
    ]


def small_model(*, tied: bool = False) -> Inventory:
    """With an output layer of its own, or tied to the embedding table."""
    decoder = "decoder"
    head = [] if tied else [Parameter("decoder.output_layer.weight", decoder, "head", (10, 4))]
    parameters = [
        Parameter("eye.patches.weight", "eye", "tower", (6, 3)),
        Parameter("eye.layers.0.norm.weight", "eye", "norms", (6,)),
        Parameter("eye.layers.0.fc.weight", "eye", "tower", (6, 6)),
        Parameter("ear.fc.weight", "ear", "tower", (5, 5)),
        Parameter("bridge.norm.weight", "bridge", "norms", (6,)),
        Parameter("bridge.fc.weight", "bridge", "projector", (4, 6)),
        Parameter("decoder.embedding.weight", decoder, "embeddings", (10, 4)),
        *(parameter for index in range(LAYERS) for parameter in _layer(index)),
        Parameter("decoder.final_norm.weight", decoder, "norms", (4,)),
        *head,
    ]
    return Inventory("0" * 16, "small", tuple(parameters), (), tied)
