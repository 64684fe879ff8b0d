"""GPT-3 as Megatron-LM trained it in 2022 (arXiv 2205.05198), for its published table: no spec of this project.

Layer norms with biases, a plain (not gated) network of four times the width, learned positions, dropout after
attention's softmax and after each half, attention by batched products over stored scores. bf16 activations of 2 bytes.
"""

from collections.abc import Iterator

from attrs import frozen

from composer.masks import parse
from composer.plans.costs import Costs, Message, Saved, Setting, Work
from composer.plans.inventory import Inventory, Parameter, Part
from composer.plans.layout import Layout
from composer.plans.model import PlannedModel

NODE = "language_model"


@frozen
class PlainGpt:
    """`composer.plans.costs.DecoderCosts` of one size."""

    layers: int
    hidden: int
    heads: int
    vocab: int = 51_200

    @property
    def kinds(self) -> tuple[str, ...]:
        return ("layer",) * self.layers

    @property
    def kv_heads(self) -> int:
        return self.heads

    @property
    def num_experts(self) -> int:
        return 0

    def layer(self, kind: str, setting: Setting) -> Costs:
        del kind
        messages = tuple(_around(setting, self.hidden, "attention", "dense"))
        return Costs(tuple(self._layer(setting)), tuple(self._saved(setting)), messages)

    def embedding(self, setting: Setting) -> Costs:
        elements = setting.micro_batch * setting.seq * self.hidden
        sent = Message("embeddings", "all_reduce", "tp", 2 * elements, backward=0)
        return Costs((Work("embeddings", "elementwise", 0, 13 * elements, 4),), (), (sent,))

    def stage(self, setting: Setting) -> Costs:
        del setting
        return Costs()

    def head(self, setting: Setting) -> Costs:
        tokens, columns = setting.micro_batch * setting.seq, self.vocab / setting.layout.tp
        logits = tokens * columns
        work = (
            _norm(_split(setting) * self.hidden),
            _linear("head", tokens, self.hidden, columns),
            Work("logits", "elementwise", 0, 38 * logits, 12, backward=0.4),
        )
        return Costs(work, (), tuple(_around(setting, self.hidden, "head"))[:1])

    def misfits(self, layout: Layout) -> tuple[str, ...]:
        del layout
        return ()

    def _saved(self, setting: Setting) -> Iterator[Saved]:
        """What autograd keeps of a layer: inputs of norms, products, softmax, GeLU, and masks of one byte."""
        tokens, outside = setting.micro_batch * setting.seq * self.hidden, int(_split(setting) * self.hidden)
        if setting.layout.recompute == "full":
            yield Saved("layer", 2 * tokens)
            return
        yield Saved("norms", 2 * 2 * outside)
        yield Saved("attention", (2 + 1) * outside + (6 + 2) * tokens // setting.layout.tp)
        yield Saved("dense", (2 + 1) * outside + (8 + 8) * tokens // setting.layout.tp)
        if setting.layout.recompute == "none":
            scores = setting.micro_batch * self.heads * setting.seq**2 // setting.layout.tp
            yield Saved("core_attention", (2 + 1 + 2) * scores)

    def _layer(self, setting: Setting) -> Iterator[Work]:
        tokens, width = setting.micro_batch * setting.seq, self.hidden / setting.layout.tp
        outside = _split(setting) * self.hidden
        yield _norm(outside)
        yield _linear("attention", tokens, self.hidden, 3 * width)
        scores = setting.micro_batch * self.heads / setting.layout.tp * setting.seq**2
        yield Work("core_attention", "attention", 4 * scores * self.hidden / self.heads, 4 * scores, 2, backward=2.0)
        # Softmax with scale and mask in one kernel, dropout in another; backward the mask, and both tensors of softmax.
        yield Work("core_attention", "elementwise", 0, 9 * scores, 2, backward=11 / 9)
        yield _linear("attention", tokens, width, self.hidden)
        yield _norm(outside)
        yield _linear("dense", tokens, self.hidden, 4 * width)
        yield Work("dense", "elementwise", 0, 4 * tokens * 4 * width, 1, backward=1.5)
        yield _linear("dense", tokens, 4 * width, self.hidden)
        for _ in range(2):  # bias, dropout and residual in one kernel
            yield Work("residual", "elementwise", 0, 7 * outside, 1, backward=5 / 7)


def plain_gpt(layers: int, hidden: int, heads: int) -> PlannedModel:
    """With all its parameters, all trained; the head is the embedding table."""
    shape = PlainGpt(layers, hidden, heads)
    made = [
        Parameter(f"{NODE}.embedding.word_embeddings.weight", NODE, "embeddings", (shape.vocab, hidden), 0),
        Parameter(f"{NODE}.embedding.position_embeddings.weight", NODE, "embeddings", (2048, hidden)),
        Parameter(f"{NODE}.decoder.final_layernorm.weight", NODE, "norms", (hidden,)),
        Parameter(f"{NODE}.decoder.final_layernorm.bias", NODE, "norms", (hidden,)),
    ]
    for layer in range(layers):
        made += _parameters(layer, hidden)
    inventory = Inventory("published", f"GPT {hidden}", tuple(made), (), tied=True)
    return PlannedModel(inventory, NODE, shape, {"layer": parse("causal")}, frozenset(each.name for each in made))


def _parameters(layer: int, hidden: int) -> Iterator[Parameter]:
    matrices: tuple[tuple[str, Part, tuple[int, ...], int | None], ...] = (
        ("self_attention.linear_qkv.weight", "attention", (3 * hidden, hidden), 0),
        ("self_attention.linear_qkv.bias", "attention", (3 * hidden,), 0),
        ("self_attention.linear_proj.weight", "attention", (hidden, hidden), 1),
        ("self_attention.linear_proj.bias", "attention", (hidden,), None),
        ("mlp.linear_fc1.weight", "dense", (4 * hidden, hidden), 0),
        ("mlp.linear_fc1.bias", "dense", (4 * hidden,), 0),
        ("mlp.linear_fc2.weight", "dense", (hidden, 4 * hidden), 1),
        ("mlp.linear_fc2.bias", "dense", (hidden,), None),
    )
    for name, part, shape, split in matrices:
        yield Parameter(f"{NODE}.decoder.layers.{layer}.{name}", NODE, part, shape, split, layer)
    for name in ("input_layernorm", "pre_mlp_layernorm"):
        for kind in ("weight", "bias"):
            full = f"{NODE}.decoder.layers.{layer}.{name}.{kind}"
            yield Parameter(full, NODE, "norms", (hidden,), None, layer)


def _split(setting: Setting) -> float:
    """Tokens of a rank between tensor-parallel regions."""
    tokens = setting.micro_batch * setting.seq
    return tokens / setting.layout.tp if setting.layout.sequence_parallel else tokens


def _linear(part: str, rows: float, inner: float, outer: float) -> Work:
    bytes_ = 2 * (rows * (inner + outer) + inner * outer)
    return Work(part, "gemm", 2 * rows * inner * outer, bytes_, 1, weight_backward=1.0)


def _norm(elements: float) -> Work:
    return Work("norms", "elementwise", 0, 4 * elements, 1, backward=2.0)


def _around(setting: Setting, hidden: int, *parts: str) -> Iterator[Message]:
    """Sums over tensor-parallel ranks; with sequence parallelism, a gathering and a scattered sum."""
    bytes_ = 2 * setting.micro_batch * setting.seq * hidden
    for part in parts:
        if setting.layout.sequence_parallel:
            yield Message(part, "all_gather", "tp", bytes_)
            yield Message(part, "reduce_scatter", "tp", bytes_)
        else:
            yield Message(part, "all_reduce", "tp", bytes_)
