"""What `language.gpt` takes in a spec: sizes, and a list of layers made of named parts (torch-free)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from attrs import evolve, field, frozen

from components.language.attention_declaration import Attention, check_attention
from components.language.delta_net_declaration import DeltaNet, check_delta_net
from components.language.feed_forward_declaration import ExpertSet, FeedForward, check_feed_forward
from components.language.rope_declaration import Rope, check_rope
from components.language.rotation_columns import has_sections, rotating_dim
from composer.finding import Finding
from composer.ranges import positive, whole
from composer.registry import Component, Port, Ports
from composer.suggestion import suggestion

if TYPE_CHECKING:
    from composer.plans.costs import DecoderCosts


def _doc(text: str) -> dict[str, str]:
    return {"description": text}


@frozen
class Layer:
    """One layer kind, complete."""

    attention: Attention | None = field(default=None, metadata=_doc("Self-attention."))
    rope: Rope | None = field(default=None, metadata=_doc("Rotary position embedding; null: layers without rotation."))
    delta_net: DeltaNet | None = field(
        default=None,
        metadata=_doc("A gated delta net in place of attention and rope; its mask rule is `causal`."),
    )
    ffn: FeedForward = field(
        factory=FeedForward, metadata=_doc("Feed-forward branches; given here, or by `ffn_order` and `ffns`.")
    )
    norms: Literal["pre", "sandwich"] = field(
        default="pre", metadata=_doc("pre: a norm before each half. sandwich: also one after, before the residual add.")
    )
    output_scale: Literal["none", "layer_scalar"] = field(
        default="none", metadata=_doc("layer_scalar: the layer's output times a stored number.")
    )

    @property
    def score_scale(self) -> float:
        """Factor on query·key: the attention's, times that of stretched wavelengths."""
        assert self.attention is not None
        return self.attention.score_scale * (1.0 if self.rope is None else self.rope.score_factor)


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
    ffn_order: tuple[str, ...] | None = field(
        default=None,
        metadata=_doc("The feed-forward kind of each layer, where layers of one kind differ in it; null: in `kinds`."),
    )
    ffns: dict[str, FeedForward] = field(factory=dict, metadata=_doc("Feed-forward kinds by name, for `ffn_order`."))

    @property
    def names(self) -> tuple[str, ...]:
        """What each layer is, first to last: its kind, and with `ffn_order` its feed-forward kind behind a slash."""
        if self.ffn_order is None:
            return self.order
        return tuple(f"{kind}/{ffn}" for kind, ffn in zip(self.order, self.ffn_order, strict=False))

    def whole(self, name: str) -> Layer:
        """The complete layer of one of the `names`."""
        kind, _, ffn = name.partition("/")
        return evolve(self.kinds[kind], ffn=self.ffns[ffn]) if ffn else self.kinds[kind]

    @property
    def feed_forwards(self) -> dict[str, FeedForward]:
        """Every feed-forward half that layers may have, by its place in the section."""
        if self.ffn_order is not None:
            return {f"layers.ffns.{name}": ffn for name, ffn in self.ffns.items()}
        return {f"layers.kinds.{name}.ffn": kind.ffn for name, kind in self.kinds.items()}

    @property
    def feed_forwards_in_use(self) -> dict[str, FeedForward]:
        """Those of them that some layer has."""
        named = [f"layers.kinds.{name}.ffn" for name in self.order]
        if self.ffn_order is not None:
            named = [f"layers.ffns.{name}" for name in self.ffn_order]
        return {place: ffn for place, ffn in self.feed_forwards.items() if place in set(named)}


def kind_of(name: str) -> str:
    """The kind of a layer (masks and rotations are made for kinds) from what it is (`Layers.names`)."""
    return name.partition("/")[0]


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
    names: dict[str, str] = field(
        factory=dict,
        metadata=_doc(
            "Where transformers calls a part of a layer, or of the decoder, otherwise than our table of weights: "
            "beginnings of names in the table, each with what stands there; the longest that fits is taken. A leading "
            "slash: counted from the root, as in `/lm_head`."
        ),
    )
    transposed_experts: bool = field(
        default=False,
        metadata=_doc("In transformers' memory the experts' matrices are [E, H, 2I] and [E, I, H]."),
    )


def ports(config: Gpt) -> Ports:
    """The decoder only consumes: embeddings after placement, one mask and one rotation per layer kind."""
    sizes = config.config
    hidden = ("batch", "seq", sizes.hidden_size)
    table, table_origin = (sizes.vocab_size, sizes.hidden_size), ("config.vocab_size", "config.hidden_size")
    return Ports(
        inputs={
            "embeddings": Port("embeddings", "embeddings", hidden, origin=("", "", "config.hidden_size")),
            "hidden_states": Port(
                "hidden_states",
                "hidden",
                (sizes.num_layers, *hidden),
                required=False,
                origin=("config.num_layers", "", "", "config.hidden_size"),
            ),
            "attention_mask": Port("attention_mask", "mask", ("batch", "seq")),
            "rotary": Port("rotary", "rotary", ("axis", "batch", "seq") if has_sections(config) else ("batch", "seq")),
            "output_weight": Port("output_weight", "weight", table, required=False, origin=table_origin),
        },
        outputs={
            "out": Port("out", "logits", ("batch", "seq", sizes.vocab_size), origin=("", "", "config.vocab_size")),
            "embedding_weight": Port("embedding_weight", "weight", table, origin=table_origin),
        },
    )


def layer_kinds(config: Gpt) -> tuple[str, ...]:
    """Kinds in use, in order of first appearance."""
    return tuple(dict.fromkeys(config.layers.order))


def attending_kinds(config: Gpt) -> dict[str, Attention]:
    """Kinds in use whose layers attend, in order of first appearance."""
    kinds = ((kind, config.layers.kinds[kind].attention) for kind in layer_kinds(config))
    return {kind: attention for kind, attention in kinds if attention is not None}


def fixed_rules(config: Gpt) -> dict[str, str]:
    """Kinds without attention: a state that goes along a document knows one rule only."""
    return {kind: "causal" for kind, layer in config.layers.kinds.items() if layer.delta_net is not None}


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
        yield from _mixer(layer, path)
    yield from _feed_forwards(config)
    yield from _one_mixture(config)
    if kinds and all(layer.rope is None and layer.delta_net is None for layer in kinds.values()):
        yield Finding("layers.kinds", "no layer kind has rope: layers would not know where a token stands.")


def _sizes(sizes: DecoderConfig) -> Iterator[Finding]:
    for name in ("num_layers", "hidden_size", "vocab_size", "max_positions"):
        yield from whole(f"config.{name}", getattr(sizes, name))
    yield from positive("config.norm_eps", sizes.norm_eps)
    yield from positive("config.logit_softcap", sizes.logit_softcap)
    yield from positive("config.init_std", sizes.init_std, zero=True)


def _mixer(layer: Layer, path: str) -> Iterator[Finding]:
    """What mixes tokens: attention, or a delta net, which needs no rotation."""
    if layer.attention is None and layer.delta_net is None:
        yield Finding(path, "neither attention nor delta_net is given: a layer has one of them.")
    if layer.delta_net is not None:
        for name in ("attention", "rope"):
            if getattr(layer, name) is not None:
                message = f"a layer with a delta_net ({{0}}) has no {name}: leave one of both out."
                yield Finding(f"{path}.{name}", message, (f"{path}.delta_net",))
        yield from check_delta_net(layer.delta_net, f"{path}.delta_net")
    if layer.attention is None:
        return
    yield from check_attention(layer.attention, f"{path}.attention")
    if layer.rope is not None:
        yield from check_rope(layer.rope, f"{path}.rope", rotating_dim(layer), f"{path}.attention.head_dim")


def _feed_forwards(config: Gpt) -> Iterator[Finding]:
    layers = config.layers
    for path, ffn in layers.feed_forwards.items():
        yield from check_feed_forward(ffn, path)
    if config.transposed_experts and not any(ffn.experts for ffn in layers.feed_forwards.values()):
        yield Finding("transposed_experts", "it has no effect: no layer has experts.")
    if layers.ffn_order is None:
        if layers.ffns:
            yield Finding("layers.ffns", "it has no effect without ffn_order, which says the one of each layer.")
        return
    if len(layers.ffn_order) != config.config.num_layers:
        message = f"names {len(layers.ffn_order)} layers, but num_layers is {config.config.num_layers} ({{0}})."
        yield Finding("layers.ffn_order", message, ("config.num_layers",))
    for name in dict.fromkeys(layers.ffn_order):
        if name not in layers.ffns:
            path = f"layers.ffn_order[{layers.ffn_order.index(name)}]"
            yield Finding(path, f"there is no feed-forward kind {name!r}.{suggestion(name, layers.ffns)}")
    for kind, layer in layers.kinds.items():
        if not layer.ffn.is_empty:
            message = "it has no effect: ffn_order ({0}) says which of ffns each layer has."
            yield Finding(f"layers.kinds.{kind}.ffn", message, ("layers.ffn_order",))


def _one_mixture(config: Gpt) -> Iterator[Finding]:
    mixtures = [(path, ffn.experts) for path, ffn in config.layers.feed_forwards_in_use.items() if ffn.experts]
    (first, shared), *others = mixtures or [("", None)]
    for path, experts in others:
        if experts != shared:
            kind = first.split(".")[2]
            message = f"other experts than those of {kind} layers ({{0}}): Megatron-Core has one setting for all."
            yield Finding(f"{path}.experts", message, (f"{first}.experts",))


def has_experts(section: Gpt) -> bool:
    """Whether any layer has experts."""
    return any(ffn.experts is not None for ffn in section.layers.feed_forwards_in_use.values())


def _expert_sets(section: Gpt) -> dict[str, ExpertSet]:
    """The sets of experts but the first; all layers have the same mixture."""
    mixtures = (ffn.experts for ffn in section.layers.feed_forwards_in_use.values())
    return next((part.sets for part in mixtures if part is not None), {})


def set_names(section: Gpt) -> tuple[str, ...]:
    """Names of the sets of experts but the first."""
    return tuple(_expert_sets(section))


def token_groups(section: Gpt) -> dict[str, tuple[str, ...]]:
    """Tokens of each set of experts but the first, by the place that names them."""
    place = next((path for path, ffn in section.layers.feed_forwards_in_use.items() if ffn.experts is not None), "")
    return {f"{place}.experts.sets.{name}.tokens": each.tokens for name, each in _expert_sets(section).items()}


def _costs(config: Gpt) -> "DecoderCosts":
    from components.language.costs.decoder import GptCosts

    return GptCosts(config)


def active_experts(section: Gpt) -> float:
    """Share of a layer's experts that each token passes; 1 without experts. All layers have the same mixture."""
    mixtures = [ffn.experts for ffn in section.layers.feed_forwards_in_use.values() if ffn.experts is not None]
    return mixtures[0].top_k / mixtures[0].num_experts if mixtures else 1.0


GPT = Component(
    name="language.gpt",
    role="decoder",
    config=Gpt,
    ports=ports,
    implementation="components.language.gpt",
    layer_kinds=layer_kinds,
    fixed_rules=fixed_rules,
    check=check,
    costs=_costs,
    token_groups=token_groups,
)
