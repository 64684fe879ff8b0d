"""DeepSeek-V3 and Qwen3.6-35B-A3B, which `language.gpt` cannot describe: approximations, from public configurations.

DeepSeek-V3: latent attention as its five products and a fused causal kernel over heads of 192 and 128; no
recomputation; the next-token layer as one more layer of experts; a place in the pipeline each for the embedding and
the head, so that 61 + 1 layers fill 64. Qwen3.6: gated delta nets as their products, a convolution, and a scan over
chunks of 64 that reaches a third of what fused attention does; one image of 256 tokens in each sample (the card does
not say), through a tower of 27 layers of width 1152.
"""

from collections.abc import Iterator
from functools import cached_property

from attrs import frozen

from benchmarks.planner.fused_stack import fewer_copies, fused
from benchmarks.planner.parameters import NODE, experts_of
from components.language.attention_declaration import Attention
from components.language.feed_forward_declaration import Experts
from components.language.work.attention import core_attention
from components.language.work.feed_forward import expert_work
from components.language.work.layer import tensor_parallel
from components.language.work.operations import addition, linear, norm, python
from components.language.work.sizes import Tokens
from composer.masks import parse
from composer.plans.costs import Costs, Message, Setting, Work
from composer.plans.inventory import EncoderCosts, Inventory, Parameter, Part, Polynomial
from composer.plans.layout import Layout
from composer.plans.model import PlannedModel

HEAD = "head"


@frozen(slots=False)
class Mixture:
    """Layers of different attention with a dense network, or with experts and a shared one.

    widths: of the matrices of each kind of attention, (inner, outer, split over tensor-parallel ranks: 0 outer, 1
    inner, None neither). scan: FLOPs of a token in a delta net. dense: width of a kind's only network, or of the shared
    expert.
    """

    order: tuple[str, ...]
    hidden: int
    vocab: int
    matrices: dict[str, tuple[tuple[int, int, int | None], ...]]
    attention: dict[str, Attention]
    scan: dict[str, float]
    dense: dict[str, int]
    experts: dict[str, Experts]
    nodes: int
    at_most: int | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        return self.order

    @property
    def kv_heads(self) -> int:
        return 1

    @property
    def num_experts(self) -> int:
        return max(experts.num_experts for experts in self.experts.values())

    @cached_property
    def _known(self) -> dict[tuple[str, Setting], Costs]:
        return {}

    def layer(self, kind: str, setting: Setting) -> Costs:
        if (kind, setting) not in self._known:
            used = kind in self.dense
            work = tuple(self._work(kind, setting)) if used else ()
            messages = tuple(self._messages(kind, setting)) if used else ()
            self._known[kind, setting] = Costs(work, (), messages)
        return self._known[kind, setting]

    def embedding(self, setting: Setting) -> Costs:
        return Costs((Work("embeddings", "elementwise", 0, 8 * Tokens.of(setting).whole * self.hidden, 8),))

    def stage(self, setting: Setting) -> Costs:
        del setting
        return Costs()

    def head(self, setting: Setting) -> Costs:
        tokens, columns = Tokens.of(setting), self.vocab / setting.layout.tp
        logits = Work("logits", "elementwise", 0, 38 * tokens.whole * columns, 24, backward=0.4)
        product = linear(HEAD, tokens.whole, self.hidden, columns, setting)
        return Costs((norm("norms", tokens.split * self.hidden, setting), product, logits))

    def misfits(self, layout: Layout) -> tuple[str, ...]:
        del layout
        return ()

    def _work(self, kind: str, setting: Setting) -> Iterator[Work]:
        tokens, tp = Tokens.of(setting), setting.layout.tp
        yield norm("norms", tokens.split * self.hidden, setting)
        for inner, outer, split in self.matrices[kind]:
            yield linear(
                "attention", tokens.whole, inner / (tp if split == 1 else 1), outer / (tp if split == 0 else 1), setting
            )
        if kind in self.attention:
            yield from core_attention(self.attention[kind], kind, setting)
        if kind in self.scan:
            flops = tokens.whole * self.scan[kind] / tp
            yield Work("core_attention", "attention", flops, 0, 20, backward=2.5, slowdown=3.0)
        yield python("attention")
        width = self.dense[kind] / tp
        yield linear("dense", tokens.whole, self.hidden, 2 * width, setting)
        yield Work("dense", "elementwise", 0, 6 * tokens.whole * width, 1, backward=1.9)
        yield linear("dense", tokens.whole, width, self.hidden, setting)
        yield norm("norms", tokens.split * self.hidden, setting)
        if kind in self.experts:
            yield from map(fused, expert_work(self.experts[kind], self.hidden, setting))
        for _ in range(2):
            yield addition("residual", tokens.split * self.hidden, setting)
        yield python("layer")

    def _messages(self, kind: str, setting: Setting) -> Iterator[Message]:
        tokens, layout = Tokens.of(setting), setting.layout
        residual = tokens.whole * self.hidden * setting.element
        if layout.tp > 1:
            yield from tensor_parallel("attention", residual, setting)
            yield from tensor_parallel("dense", residual, setting)
        if kind in self.experts and layout.ep > 1:
            top_k = self.experts[kind].top_k
            once = Message("dispatch", "all_to_all", "ep", tokens.split * top_k * self.hidden * setting.element)
            yield from fewer_copies((once, once), self.nodes, top_k, self.at_most)

    def parameters(self) -> Iterator[Parameter]:
        """Written down one by one, as `Inventory` wants them."""
        yield Parameter("embedding", NODE, "embeddings", (self.vocab, self.hidden), 0)
        yield Parameter("output_layer", NODE, "head", (self.vocab, self.hidden), 0)
        for number, kind in enumerate(self.order):
            if kind not in self.dense:
                continue
            for each, (inner, outer, split) in enumerate(self.matrices[kind]):
                yield _matrix(number, f"attention.{each}", "attention", (outer, inner), split)
            yield _matrix(number, "dense.fc1", "dense", (2 * self.dense[kind], self.hidden), 0)
            yield _matrix(number, "dense.fc2", "dense", (self.hidden, self.dense[kind]), 1)
            if kind in self.experts:
                experts = self.experts[kind]
                yield _matrix(number, "router", "router", (experts.num_experts, self.hidden), None)
                yield from experts_of(number, experts.num_experts, self.hidden, experts.intermediate_size)


def _matrix(layer: int, name: str, part: Part, shape: tuple[int, ...], split: int | None) -> Parameter:
    return Parameter(f"decoder.layers.{layer}.{name}", NODE, part, shape, split, layer)


def deepseek_v3(nodes: int) -> PlannedModel:
    """61 layers, 3 of them dense, and one for the token after the next; 256 experts and a shared one."""
    latent = ((7168, 1536, None), (1536, 128 * 192, 0), (7168, 576, None), (512, 128 * 256, 0), (128 * 128, 7168, 1))
    attention = Attention(heads=128, kv_heads=128, head_dim=160)  # the mean of 192 for scores and 128 for values
    decoder = Mixture(
        order=("none", *["first"] * 3, *["mixture"] * 59, "none"),
        hidden=7168,
        vocab=129_280,
        matrices={"first": latent, "mixture": latent},
        attention={"first": attention, "mixture": attention},
        scan={},
        dense={"first": 18_432, "mixture": 2048},
        experts={"mixture": Experts(256, 8, 2048)},
        nodes=nodes,
        at_most=4,
    )
    return _planned(decoder, "DeepSeek-V3", ())


def qwen3_6_35b_a3b() -> PlannedModel:
    """40 layers, every fourth with full attention; 256 experts and a shared one; expert ranks within a node."""
    delta = ((2048, 2 * 16 * 128 + 2 * 32 * 128, 0), (2048, 64, 0), (32 * 128, 2048, 1))
    full = ((2048, (2 * 16 + 2 * 2) * 256, 0), (16 * 256, 2048, 1))
    experts = Experts(256, 8, 512)
    decoder = Mixture(
        order=("delta", "delta", "delta", "full") * 10,
        hidden=2048,
        vocab=248_320,
        matrices={"delta": delta, "full": full},
        attention={"full": Attention(heads=16, kv_heads=2, head_dim=256)},
        scan={"delta": 32 * (8 * 128 * 128 + 6 * 64 * 128)},
        dense={"delta": 512, "full": 512},
        experts={"delta": experts, "full": experts},
        nodes=1,
    )
    return _planned(decoder, "Qwen3.6-35B-A3B", (vision_tower(),))


def vision_tower() -> EncoderCosts:
    """27 layers of width 1152, four patches to a feature row; single operations, as of transformers: 390 bytes of an
    element in a layer.
    """
    patches, width, inner, layers = 4, 1152, 4304, 27
    gemm = layers * patches * 2 * (4 * width * width + 2 * width * inner)
    attention = layers * 4 * width * patches * patches
    none = Polynomial()
    moved = Polynomial(linear=layers * patches * width * 390 / 2)
    return EncoderCosts(
        "vision_tower",
        Polynomial(linear=gemm),
        Polynomial(quadratic=attention),
        moved,
        none,
        none,
        none,
        none,
        1500,
        False,
    )


def _planned(decoder: Mixture, name: str, encoders: tuple[EncoderCosts, ...]) -> PlannedModel:
    made = tuple(decoder.parameters())
    made += tuple(Parameter(each.node, each.node, "tower", (430, 1_000_000)) for each in encoders)
    rules = {kind: parse("causal") for kind in {*decoder.order}}
    return PlannedModel(
        Inventory("published", name, made, encoders), NODE, decoder, rules, frozenset(p.name for p in made)
    )
