"""One run of both models, with what encoders, decoder and attention were given.

Legend: B batch, S sequence, H hidden, N query heads, G key/value heads, D head width.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve, field, frozen
from torch import Tensor, nn

from adapters.parity.recording import Call, recording

if TYPE_CHECKING:
    from composer import Graph

EAGER = "eager_attention_forward"


@frozen(eq=False)
class Heads:
    """What attention proper was given: query [B, N, S, D], key and value [B, G, S, D]."""

    query: Tensor
    key: Tensor
    value: Tensor
    scale: float
    softcap: float | None

    def at(self, valid: Tensor) -> "Heads":
        """The same with zeros where [B, S] `valid` is False: behind the first layer padding holds anything."""
        real = valid[:, None, :, None]
        return evolve(self, query=self.query * real, key=self.key * real, value=self.value * real)

    @property
    def products(self) -> Tensor:
        """[B, N, S, S] query·key, before any factor."""
        return self.query @ self.key.repeat_interleave(self.query.shape[1] // self.key.shape[1], 1).transpose(2, 3)


@frozen(eq=False)
class Side:
    """Calls by node, attention by layer kind, and the error that ended the run early."""

    calls: dict[str, Call]
    heads: dict[str, Heads] = field(factory=dict)
    positions: Tensor | None = None
    error: Exception | None = None


@torch.no_grad()
def our_side(graph: "Graph", model: Any, run: Callable[[], Any]) -> Side:
    """Run a composed model, all on one stage."""
    decoder = graph.decoder()
    encoders = [name for name in graph.nodes if name != decoder.name]
    halves = {kind: f"{decoder.name}.decoder.layers.{index}.self_attention" for kind, index in _first(graph).items()}
    heads: dict[str, Heads] = {}
    running: list[str] = []  # layers of one kind, or of one rule, share what attends: the layer before it says which
    with ExitStack() as hooks:
        for half in {
            id(layer.self_attention): layer.self_attention for layer in model.decoder_node.decoder.layers
        }.values():
            hooks.callback(half.register_forward_pre_hook(lambda *_: running.clear()).remove)
        for kind, path in halves.items():
            half = model.get_submodule(path)
            hooks.callback(half.register_forward_pre_hook(lambda *_, kind=kind: running.append(kind)).remove)
            hooks.callback(half.core_attention.register_forward_pre_hook(_our_heads(running, heads)).remove)
        calls = hooks.enter_context(recording(model, [*encoders, decoder.name]))
        error = _failure(run)
    return Side(calls, heads, error=error)


@torch.no_grad()
def oracle_side(graph: "Graph", oracle: nn.Module, run: Callable[[], Any]) -> Side:
    """Run transformers' model; modules are called by the names of the nodes that take their weights."""
    known = dict(oracle.named_modules())
    decoder = graph.decoder()
    nodes = {str(node.weights): node.name for node in graph.nodes.values() if node.weights in known}
    text = str(decoder.weights)
    attentions = {kind: known[f"{text}.layers.{index}.self_attn"] for kind, index in _first(graph).items()}
    rotary = [name for name in (f"{text}.rotary_emb",) if name in known]
    with eager_heads(attentions) as heads, recording(oracle, [*nodes, *rotary]) as calls:
        error = _failure(run)
    positions = calls[rotary[0]].arguments.get("position_ids") if rotary and rotary[0] in calls else None
    return Side({nodes[name]: call for name, call in calls.items() if name in nodes}, heads, positions, error)


def _failure(run: Callable[[], Any]) -> Exception | None:
    try:
        run()
    except Exception as error:  # noqa: BLE001 (whatever it is, what was recorded until then is looked at)
        return error
    return None


def _first(graph: "Graph") -> dict[str, int]:
    """The first layer of each kind that attends."""
    layers = graph.decoder().config.layers
    return {kind: layers.order.index(kind) for kind in layers.order if layers.kinds[kind].attention is not None}


def _our_heads(running: list[str], seen: dict[str, Heads]) -> Callable[..., None]:
    def keep(core: Any, args: tuple[Any, ...]) -> None:
        if not running:
            return
        kind = running[0]
        query, key, value = (each.permute(1, 2, 0, 3) for each in args[:3])
        seen.setdefault(kind, Heads(query, key, value, core.scale, getattr(core, "softcap", None)))

    return keep


@contextmanager
def eager_heads(attentions: dict[str, nn.Module]) -> Iterator[dict[str, Heads]]:
    """What the named attention modules of transformers hand to eager attention, first call of each.

    Source: transformers 5.23, `eager_attention_forward` of every modeling file: (module, query, key, value, mask, ...).
    """
    seen: dict[str, Heads] = {}
    kinds = {id(module): kind for kind, module in attentions.items()}
    files = {type(module).__module__ for module in attentions.values()}
    kept = {file: getattr(sys.modules[file], EAGER) for file in files if hasattr(sys.modules[file], EAGER)}

    def watching(original: Callable[..., Any]) -> Callable[..., Any]:
        def attend(module: Any, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
            if (kind := kinds.get(id(module))) is not None:
                scale = kwargs.get("scaling") or getattr(module, "scaling", query.shape[-1] ** -0.5)
                seen.setdefault(kind, Heads(query, key, value, float(scale), kwargs.get("softcap")))
            return original(module, query, key, value, *args, **kwargs)

        return attend

    for file, original in kept.items():
        setattr(sys.modules[file], EAGER, watching(original))
    try:
        yield seen
    finally:
        for file, original in kept.items():
            setattr(sys.modules[file], EAGER, original)
