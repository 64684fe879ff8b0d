"""What `language.gpt` takes in a spec: sizes, and a list of layers made of named parts (torch-free)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen

from components.language.rope_declaration import Rope, check_rope
from components.language.rotation_columns import rotating_dim
from composer.finding import Finding
from composer.ranges import positive, whole
from composer.registry import Component, Port, Ports
from composer.suggestion import suggestion

if TYPE_CHECKING:
    from composer.plans.costs import DecoderCosts


def _doc(text: str) -> dict[str, str]:
    return {"description": text}


@frozen
class Values:
    """Where a layer's values come from."""

    keys: bool = field(default=False, metadata=_doc("Values are the un-normalised keys (K = V): no value projection."))


@frozen
class Attention:
    """Self-attention of one layer kind."""

    heads: int = field(metadata=_doc("Query heads."))
    kv_heads: int = field(metadata=_doc("Key/value heads; divides `heads`."))
    head_dim: int = field(metadata=_doc("Width of one head."))
    scale: float | None = field(default=None, metadata=_doc("Factor on query·key; null: head_dim ** -0.5."))
    scale_dim: int | None = field(
        default=None, metadata=_doc("In place of `scale`: the width whose inverse square root is the factor.")
    )
    softcap: float | None = field(
        default=None, metadata=_doc("Scaled scores become cap · tanh(scores / cap), before the mask; null: they stay.")
    )
    q_norm: Literal["none", "rms"] = field(default="none", metadata=_doc("Norm of each query head, before rotation."))
    k_norm: Literal["none", "rms"] = field(default="none", metadata=_doc("Norm of each key head, before rotation."))
    v_norm: Literal["none", "scale_free"] = field(default="none", metadata=_doc("Norm of each value head."))
    values: Values = field(factory=Values, metadata=_doc("Where values come from."))
    bias: bool = field(default=False, metadata=_doc("Bias on the query, key and value projections."))

    @property
    def score_scale(self) -> float:
        """Factor on query·key."""
        if self.scale is not None:
            return self.scale
        return float((self.head_dim if self.scale_dim is None else self.scale_dim) ** -0.5)


@frozen
class Dense:
    """A gated feed-forward network: act(gate(x)) · up(x), then down."""

    intermediate_size: int = field(metadata=_doc("Width between the two projections."))


@frozen
class Router:
    """Chooses experts per token: scores = softmax(W · f(x)), top-k, weights."""

    input: Literal["residual", "normed"] = field(
        default="normed", metadata=_doc("What is routed: the raw residual stream, or what the experts read.")
    )
    input_norm: Literal["none", "scale_free"] = field(default="none", metadata=_doc("Norm of the router's input."))
    input_scale: Literal["none", "learned"] = field(
        default="none", metadata=_doc("A learned [hidden] factor on the router's input.")
    )
    input_factor: Literal["none", "inv_sqrt_hidden"] = field(
        default="none", metadata=_doc("A constant factor on the router's input.")
    )
    renormalise: bool = field(default=True, metadata=_doc("The chosen experts' weights sum to one."))
    expert_scale: Literal["none", "learned"] = field(
        default="none", metadata=_doc("A learned [experts] factor on the weights, after renormalising.")
    )


@frozen
class Experts:
    """A mixture of gated feed-forward networks."""

    num_experts: int = field(metadata=_doc("Number of experts."))
    top_k: int = field(metadata=_doc("Experts per token."))
    intermediate_size: int = field(metadata=_doc("Width inside one expert."))
    router: Router = field(factory=Router, metadata=_doc("How experts are chosen."))


@frozen
class FeedForward:
    """The feed-forward half of a layer: a dense branch, experts, or both side by side."""

    dense: Dense | None = field(default=None, metadata=_doc("The dense branch."))
    experts: Experts | None = field(default=None, metadata=_doc("The mixture-of-experts branch."))
    join: Literal["sum"] = field(default="sum", metadata=_doc("How two branches meet."))
    branch_norms: bool = field(
        default=True,
        metadata=_doc(
            "With two branches: the experts read their own norm of the residual, and each branch's output has a norm "
            "of its own before they join."
        ),
    )


@frozen
class Layer:
    """One layer kind, complete."""

    attention: Attention = field(metadata=_doc("Self-attention."))
    rope: Rope | None = field(
        default=None, kw_only=True, metadata=_doc("Rotary position embedding; null: layers without rotation.")
    )
    ffn: FeedForward = field(metadata=_doc("Feed-forward branches."))
    norms: Literal["pre", "sandwich"] = field(
        default="pre", metadata=_doc("pre: a norm before each half. sandwich: also one after, before the residual add.")
    )
    output_scale: Literal["none", "layer_scalar"] = field(
        default="none", metadata=_doc("layer_scalar: the layer's output times a stored number.")
    )


@frozen
class Layers:
    """The decoder's layers: an order of kinds, what every kind shares, and what each kind adds or overrides.

    The metadata key `merged_over` tells the decoder of specs that the YAML may hold a sibling mapping of that name
    (`every`, a partial Layer), which is merged, deeply, under each entry of `kinds` before it is structured. It is not
    a field: a resolved graph, and its dump, hold complete kinds only.
    """

    order: tuple[str, ...] = field(metadata=_doc("The kind of each layer, first to last."))
    kinds: dict[str, Layer] = field(
        metadata=_doc("Layer kinds by name; each is merged over `every`.") | {"merged_over": "every"}
    )


@frozen
class DecoderConfig:
    """Sizes and settings of the whole decoder."""

    num_layers: int = field(metadata=_doc("Number of layers; `layers.order` has as many entries."))
    hidden_size: int = field(metadata=_doc("Width of the residual stream."))
    vocab_size: int = field(metadata=_doc("Rows of the embedding table."))
    max_positions: int = field(metadata=_doc("Longest sequence, in tokens."))
    norm_eps: float = field(default=1e-6, metadata=_doc("Epsilon of every RMS norm."))
    norm_weight: Literal["plain", "zero_centered"] = field(
        default="plain",
        metadata=_doc("What every norm with a weight multiplies by: plain: the weight. zero_centered: 1 + the weight."),
    )
    activation: Literal["silu", "gelu", "gelu_pytorch_tanh"] = field(
        default="silu", metadata=_doc("Feed-forward activation.")
    )
    logit_softcap: float | None = field(default=None, metadata=_doc("Logits become cap · tanh(logits / cap)."))
    init_std: float = field(default=0.02, metadata=_doc("Standard deviation of fresh projections."))


@frozen
class Gpt:
    """A decoder-only language model on Megatron-Core's GPTModel."""

    config: DecoderConfig = field(metadata=_doc("Sizes."))
    layers: Layers = field(metadata=_doc("Layers, made of parts."))


def ports(config: Gpt) -> Ports:
    """The decoder only consumes: embeddings after placement, one mask and one rotation per layer kind."""
    sizes = config.config
    hidden = ("batch", "seq", sizes.hidden_size)
    table, table_origin = (sizes.vocab_size, sizes.hidden_size), ("config.vocab_size", "config.hidden_size")
    return Ports(
        inputs={
            "embeddings": Port("embeddings", "embeddings", hidden, origin=("", "", "config.hidden_size")),
            "attention_mask": Port("attention_mask", "mask", ("batch", "seq")),
            "rotary": Port("rotary", "rotary", ("batch", "seq")),
            "output_weight": Port("output_weight", "weight", table, required=False, origin=table_origin),
        },
        outputs={
            "out": Port("out", "logits", ("batch", "seq", sizes.vocab_size)),
            "embedding_weight": Port("embedding_weight", "weight", table, origin=table_origin),
        },
    )


def layer_kinds(config: Gpt) -> tuple[str, ...]:
    """Kinds in use, in order of first appearance."""
    return tuple(dict.fromkeys(config.layers.order))


def check(config: Gpt) -> Iterator[Finding]:
    """Layers by number and kind, and within each kind sizes that fit; paths are relative to the node."""
    order, kinds, num_layers = config.layers.order, config.layers.kinds, config.config.num_layers
    yield from _sizes(config.config)
    if len(order) != num_layers:
        message = f"names {len(order)} layers, but num_layers is {num_layers} ({{0}})."
        yield Finding("layers.order", message, ("config.num_layers",))
    for kind in layer_kinds(config):
        if kind not in kinds:
            path = f"layers.order[{order.index(kind)}]"
            yield Finding(path, f"there is no layer kind {kind!r}.{suggestion(kind, kinds)}")
    for name, layer in kinds.items():
        path = f"layers.kinds.{name}"
        yield from _attention(layer.attention, f"{path}.attention")
        if layer.rope is not None:
            yield from check_rope(layer.rope, f"{path}.rope", rotating_dim(layer), f"{path}.attention.head_dim")
        yield from _feed_forward(layer.ffn, f"{path}.ffn")
    yield from _one_mixture(config)
    if kinds and all(layer.rope is None for layer in kinds.values()):
        yield Finding("layers.kinds", "no layer kind has rope: layers would not know where a token stands.")


def _sizes(sizes: DecoderConfig) -> Iterator[Finding]:
    for name in ("num_layers", "hidden_size", "vocab_size", "max_positions"):
        yield from whole(f"config.{name}", getattr(sizes, name))
    yield from positive("config.norm_eps", sizes.norm_eps)
    yield from positive("config.logit_softcap", sizes.logit_softcap)
    yield from positive("config.init_std", sizes.init_std, zero=True)


def _attention(attention: Attention, path: str) -> Iterator[Finding]:
    yield from whole(f"{path}.heads", attention.heads)
    if attention.kv_heads < 1 or attention.heads % attention.kv_heads:
        message = f"{attention.kv_heads} does not divide heads: {attention.heads} ({{0}})."
        yield Finding(f"{path}.kv_heads", message, (f"{path}.heads",))
    yield from whole(f"{path}.head_dim", attention.head_dim, 2)
    if attention.head_dim > 0 and attention.head_dim % 2:
        yield Finding(f"{path}.head_dim", f"{attention.head_dim} is odd: rotation turns pairs.")
    yield from positive(f"{path}.softcap", attention.softcap)
    if attention.scale_dim is not None:
        yield from whole(f"{path}.scale_dim", attention.scale_dim)
        if attention.scale is not None:
            message = "scale and scale_dim both say what scores are multiplied by. Leave one out ({0})."
            yield Finding(f"{path}.scale_dim", message, (f"{path}.scale",))


def _feed_forward(ffn: FeedForward, path: str) -> Iterator[Finding]:
    if ffn.dense is None and ffn.experts is None:
        yield Finding(path, "neither dense nor experts is given: a layer has at least one of them.")
    if ffn.dense:
        yield from whole(f"{path}.dense.intermediate_size", ffn.dense.intermediate_size)
    if experts := ffn.experts:
        yield from whole(f"{path}.experts.intermediate_size", experts.intermediate_size)
        if experts.num_experts < 1:
            yield from whole(f"{path}.experts.num_experts", experts.num_experts)
        elif not 0 < experts.top_k <= experts.num_experts:
            message = f"{experts.top_k} of {experts.num_experts} experts ({{0}}) cannot be chosen."
            yield Finding(f"{path}.experts.top_k", message, (f"{path}.experts.num_experts",))


def _one_mixture(config: Gpt) -> Iterator[Finding]:
    kinds = config.layers.kinds
    mixtures = [(kind, kinds[kind].ffn.experts) for kind in layer_kinds(config) if kind in kinds]
    (first, shared), *others = [(kind, experts) for kind, experts in mixtures if experts] or [("", None)]
    for kind, experts in others:
        if experts != shared:
            message = (
                f"other experts than those of {first} layers ({{0}}): Megatron-Core has one setting for all layers."
            )
            yield Finding(f"layers.kinds.{kind}.ffn.experts", message, (f"layers.kinds.{first}.ffn.experts",))


def has_experts(section: Gpt) -> bool:
    """Whether any layer kind has experts."""
    return any(kind.ffn.experts is not None for kind in section.layers.kinds.values())


def _costs(config: Gpt) -> "DecoderCosts":
    from components.language.costs.decoder import GptCosts

    return GptCosts(config)


def active_experts(section: Gpt) -> float:
    """Share of a layer's experts that each token passes; 1 without experts. All layers have the same mixture."""
    mixtures = [kind.ffn.experts for kind in section.layers.kinds.values() if kind.ffn.experts is not None]
    return mixtures[0].top_k / mixtures[0].num_experts if mixtures else 1.0


GPT = Component(
    name="language.gpt",
    role="decoder",
    config=Gpt,
    ports=ports,
    implementation="components.language.gpt",
    layer_kinds=layer_kinds,
    check=check,
    costs=_costs,
)
