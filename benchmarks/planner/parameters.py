"""Parameters of a `language.gpt` section, written down without building it; for models that no shipped spec names."""

from collections.abc import Iterator

from components.language.costs.decoder import GptCosts
from components.language.gpt_declaration import Gpt, Layer
from composer.masks import parse
from composer.plans.inventory import Inventory, Parameter, Part
from composer.plans.model import PlannedModel

NODE = "language_model"


def planned(section: Gpt, name: str, decoder: GptCosts | None = None) -> PlannedModel:
    """A text model that trains as a whole, causal everywhere, with an output layer of its own."""
    made = tuple(parameters(section))
    inventory = Inventory("published", name, made, ())
    rules = {kind: parse("causal") for kind in section.layers.kinds}
    return PlannedModel(inventory, NODE, decoder or GptCosts(section), rules, frozenset(each.name for each in made))


def parameters(section: Gpt) -> Iterator[Parameter]:
    """Of the whole decoder."""
    sizes = section.config
    table = (sizes.vocab_size, sizes.hidden_size)
    yield Parameter("embedding.word_embeddings.weight", NODE, "embeddings", table, 0)
    yield Parameter("output_layer.weight", NODE, "head", table, 0)
    yield Parameter("decoder.final_layernorm.weight", NODE, "norms", (sizes.hidden_size,))
    for number, kind in enumerate(section.layers.order):
        yield from _layer(section.layers.kinds[kind], sizes.hidden_size, number)


def _layer(layer: Layer, hidden: int, number: int) -> Iterator[Parameter]:
    part = layer.attention
    assert part is not None, "published stacks have attention in every layer"
    width = part.head_dim

    def one(name: str, kind: Part, shape: tuple[int, ...], split: int | None = None) -> Parameter:
        return Parameter(f"decoder.layers.{number}.{name}", NODE, kind, shape, split, number)

    yield one("self_attention.linear_qkv.weight", "attention", ((part.heads + 2 * part.kv_heads) * width, hidden), 0)
    yield one("self_attention.linear_proj.weight", "attention", (hidden, part.heads * width), 1)
    for name in ("input_layernorm.weight", "mlp.input_norm.weight"):
        yield one(name, "norms", (hidden,))
    if part.q_norm == "rms":
        yield one("self_attention.q_norm.weight", "norms", (width,))
        yield one("self_attention.k_norm.weight", "norms", (width,))
    if layer.ffn.dense is not None:
        yield one("mlp.dense.linear_fc1.weight", "dense", (2 * layer.ffn.dense.intermediate_size, hidden), 0)
        yield one("mlp.dense.linear_fc2.weight", "dense", (hidden, layer.ffn.dense.intermediate_size), 1)
    if layer.ffn.experts is not None:
        experts = layer.ffn.experts
        yield one("mlp.router.weight", "router", (experts.num_experts, hidden))
        yield from experts_of(number, experts.num_experts, hidden, experts.intermediate_size)


def experts_of(layer: int, count: int, hidden: int, width: int) -> Iterator[Parameter]:
    """Gated networks, one by one."""
    for expert in range(count):
        name = f"decoder.layers.{layer}.mlp.experts.local_experts.{expert}"
        yield Parameter(f"{name}.linear_fc1.weight", NODE, "experts", (2 * width, hidden), 0, layer, expert)
        yield Parameter(f"{name}.linear_fc2.weight", NODE, "experts", (hidden, width), 1, layer, expert)
