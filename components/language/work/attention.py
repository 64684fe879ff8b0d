"""Work of self-attention: projections, head norms, rotation, and the kernel that really runs.

Transformer Engine takes rules that are causal (perhaps with windows) and computes what they allow, up to head width
256; beyond, it multiplies all pairs and stores them. Every other rule goes through torch's attention with a boolean
mask, which computes all pairs of a table, or of the stretches that blocks of queries reach.
Source: components/language/core_attention.py, adapters/transformer_engine/causal_attention.py.
"""

from collections.abc import Iterator

from components.language.attention_blocks import TABLE_PAIRS
from components.language.attention_declaration import Attention
from components.language.costs.core_attention import kernel
from components.language.gpt_declaration import Layer
from components.language.work.latent_attention import latent_work
from components.language.work.operations import linear, norm, python, rotation, scale_free_norm
from components.language.work.sizes import Tokens
from composer.plans.costs import Setting, Work

FUSED_HEAD_DIM = 256
"""Widest head that a fused kernel takes, forward and backward, on Hopper and before."""
DENSE_SLOWDOWN = ((128, 1.35), (256, 1.9), (10_000, 9.5))
"""(head width up to, times slower than fused causal attention): torch's memory-efficient kernel under a mask.
Measured on an H100, S = 4096, forward and backward (benchmarks/planner/h100_operations.json): 300, 217 and 43 TFLOP/s
of 405."""
BACKWARD = 2.5
"""Of a kernel that keeps no scores: it makes them again, and four more products."""


def attention_work(layer: Layer, hidden: int, kind: str, setting: Setting) -> Iterator[Work]:
    """Everything between the layer's input norm and the residual."""
    part, tokens, tp = layer.attention, Tokens.of(setting), setting.layout.tp
    assert part is not None
    if part.latent is None:
        yield from _heads(part, hidden, setting)
    else:
        yield from latent_work(part, part.latent, hidden, setting)
    yield from core_attention(part, kind, setting)
    if part.output_gate != "none":
        # A gate becomes contiguous, its sigmoid, and the product.
        gates = tokens.whole * part.heads / tp * part.head_dim
        yield Work("attention", "elementwise", 0, 7 * setting.element * gates, 3, backward=1.5)
    yield python("attention")
    yield python("core_attention")
    yield linear("attention", tokens.whole, part.heads / tp * part.value_dim, hidden, setting)


def _heads(part: Attention, hidden: int, setting: Setting) -> Iterator[Work]:
    """Queries, keys and values, normed and rotated."""
    tokens, tp = Tokens.of(setting), setting.layout.tp
    groups, queries = part.kv_heads / tp, part.heads // part.kv_heads
    gated = part.output_gate != "none"
    columns = groups * (queries * (2 if gated else 1) + (1 if part.values.keys else 2)) * part.head_dim
    yield linear("attention", tokens.whole, hidden, columns, setting)
    heads = tokens.whole * groups * part.head_dim
    yield Work("attention", "elementwise", 0, 2 * setting.element * heads * queries, 1)  # queries become contiguous
    for kind_of_norm, elements in ((part.q_norm, heads * queries), (part.k_norm, heads), (part.v_norm, heads)):
        if kind_of_norm == "rms":
            yield norm("norms", elements, setting)
        elif kind_of_norm == "scale_free":
            yield scale_free_norm("norms", elements, setting)
    yield rotation("rotation", heads * queries, setting)
    yield rotation("rotation", heads, setting)


def core_attention(part: Attention, kind: str, setting: Setting) -> Iterator[Work]:
    """Scores, softmax and values of one micro-batch."""
    layout, seq = setting.layout, setting.seq
    per_pair = 2 * part.heads / layout.tp * (part.head_dim + part.value_dim) * setting.micro_batch
    allowed = dict(setting.pairs).get(kind, seq * seq) / layout.cp
    fused = setting.implementation == "transformer_engine" and kind in setting.fused and layout.cp == 1
    fused = fused and part.value_dim == part.head_dim
    if part.softcap is not None:
        yield from _capped(part, kind, setting, per_pair, per_pair * allowed)
    elif fused and part.head_dim <= FUSED_HEAD_DIM:
        flops = per_pair * allowed
        yield Work("core_attention", "attention", flops, 0, 3 * 6, backward=BACKWARD, model_flops=flops)
    elif fused:
        yield from _stored_scores(part, setting, per_pair * seq * seq, per_pair * allowed)
    else:
        yield from _masked(part, kind, setting, per_pair, per_pair * allowed)


def _stored_scores(part: Attention, setting: Setting, flops: float, wanted: float) -> Iterator[Work]:
    """Two batched products with a softmax over stored scores between them; K and V repeated for each query head."""
    scores = setting.micro_batch * part.heads / setting.layout.tp * setting.seq**2
    repeated = setting.micro_batch * setting.seq * part.heads / setting.layout.tp * part.head_dim
    bytes_ = setting.element * 2 * scores
    yield Work("core_attention", "gemm", flops, bytes_, 12, backward=2.0, model_flops=wanted)
    yield Work("core_attention", "elementwise", 0, bytes_ + 4 * setting.element * repeated, 4, backward=1.5)


def _capped(part: Attention, kind: str, setting: Setting, per_pair: float, wanted: float) -> Iterator[Work]:
    """Two batched products, and between them in float32: cast, scale, tangent, cap, mask, softmax, cast back."""
    layout, e = setting.layout, setting.element
    table = setting.seq**2 // layout.cp
    blocks = kernel(part, kind, setting) == "blocks"
    computed = table if not blocks or layout.cp > 1 else dict(setting.reached).get(kind, table)
    scores = setting.micro_batch * part.heads / layout.tp * computed
    again = 1.0 if blocks else 0.0
    yield Work(
        "core_attention", "gemm", per_pair * computed, 2 * e * scores, 8, backward=2.0 + again, model_flops=wanted
    )
    casts = 2 * (e + 4) if e < 4 else 0
    yield Work("core_attention", "elementwise", 0, (42 + casts) * scores, 9 if casts else 7, backward=1.3 + again)


def _masked(part: Attention, kind: str, setting: Setting, per_pair: float, wanted: float) -> Iterator[Work]:
    """torch's attention with a boolean mask, which its kernel reads as numbers of the activations' type."""
    layout, seq, batch = setting.layout, setting.seq, setting.micro_batch
    table = seq * seq // layout.cp
    blocks = table * batch > TABLE_PAIRS
    computed = table if not blocks or layout.cp > 1 else dict(setting.reached).get(kind, table)
    slowdown = next(times for width, times in DENSE_SLOWDOWN if part.head_dim <= width)
    again = 1.0 if blocks else 0.0
    yield Work(
        "core_attention",
        "attention",
        per_pair * computed,
        0,
        launches=2,
        backward=BACKWARD + again,
        model_flops=wanted,
        slowdown=slowdown,
    )
    repeated = batch * seq * part.heads / layout.tp * part.head_dim if part.heads > part.kv_heads else 0
    masks = batch * computed * (setting.element + (8 if blocks else 1))
    yield Work("core_attention", "elementwise", 0, masks + 4 * setting.element * repeated, 8, backward=0.5 + again)
