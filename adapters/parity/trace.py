"""Which part is the first to be wrong: every pair of modules that holds the same weights is compared, in order.

The pairs come from the weight map: whoever holds the tensors that transformers' module holds must turn the same input
into the same output. A part whose input agrees and whose output does not is wrong; where an input is the first to
differ, what lies between it and the part before (a rotation, a mask, a scale, the routing) is.

Legend: B batch, S sequence, T real tokens, F features.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from torch import Tensor, nn

from adapters.huggingface.weight_map import Entry
from adapters.parity.gradients import entries
from adapters.parity.report import LOGITS_BOUND, relative_error

if TYPE_CHECKING:
    from composer import Graph


@frozen
class Site:
    """Modules on both sides that hold the tensors of one entry of the weight map."""

    ours: str
    oracle: tuple[str, ...]
    entry: Entry
    in_decoder: bool


@frozen
class Parting:
    """Where two models part: `side` of the module `at` is the first value to differ, `before` the last to agree."""

    before: str
    at: str
    side: str

    def __str__(self) -> str:
        if self.side == "output":
            return f"{self.at}: its input agrees, its output differs"
        return f"between {self.before} and {self.at}: the latter's input is the first value to differ"


def first_parting(
    graph: "Graph",
    ours: nn.Module,
    oracle: nn.Module,
    run_ours: Callable[[], Any],
    run_oracle: Callable[[], Any],
    valid: Tensor,
) -> Parting | None:
    """Run both models once and find where they part; None if all compared parts agree.

    Args:
        valid: [B, S] bool; padding is not compared, nobody sees what it holds.
    """
    sites = _sites(graph, ours, oracle)
    recorded = _record(oracle, [name for site in sites for name in site.oracle], run_oracle)
    given = _record(ours, [site.ours for site in sites], run_ours)
    by_first = {site.oracle[0]: site for site in sites}
    before = "the model's inputs"
    for name in recorded:
        if (site := by_first.get(name)) is None or site.ours not in given:
            continue
        (expected_in, _), (input_, output) = recorded[name], given[site.ours]
        if _differ(_tokens(input_, valid, site, ours=True), _tokens(expected_in, valid, site, ours=False)):
            return Parting(before, site.ours, "input")
        expected = [recorded[part][1] for part in site.oracle if part in recorded]
        for mine, theirs in zip(_split(output, site, valid), expected, strict=True):
            if _differ(mine, _tokens(theirs, valid, site, ours=False)):
                return Parting(before, site.ours, "output")
        before = site.ours
    return None


def after_last_part(graph: "Graph") -> str:
    """What to say when every part agrees and the logits do not."""
    return f"{graph.decoder().name}: all parts agree up to the final norm, the output layer or its softcap does not"


def _sites(graph: "Graph", ours: nn.Module, oracle: nn.Module) -> list[Site]:
    decoder = graph.decoder().name
    modules, theirs = dict(ours.named_modules()), dict(oracle.named_modules())
    sites: dict[str, Site] = {}
    for entry in entries(ours, graph):
        holder = entry.composed[0].rpartition(".")[0]
        holders = tuple(name.rpartition(".")[0] for name in entry.names)
        alone = sum(1 for _ in modules[holder].named_parameters(recurse=False)) == 1
        known = all(name in theirs for name in holders) and len(set(holders)) == len(holders)
        # Embeddings are scaled on one side only, and tied tables answer for two layers.
        table = isinstance(theirs.get(holders[0]), nn.Embedding)
        if len(entry.composed) == 1 and entry.composed[0].endswith(".weight") and alone and known and not table:
            sites[holder] = Site(holder, holders, entry, holder.startswith(f"{decoder}."))
    return list(sites.values())


@torch.no_grad()
def _record(model: nn.Module, names: list[str], run: Callable[[], Any]) -> dict[str, tuple[Tensor, Tensor]]:
    """First input and output of the named modules, in the order in which they finish."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            values = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
            outputs = [value for value in (output if isinstance(output, tuple) else (output,)) if value is not None]
            # A module that answers with several tensors (a router) means something else by them on each side.
            if values and len(outputs) == 1 and isinstance(outputs[0], Tensor):
                seen[name] = (values[0].clone(), outputs[0].clone())

        return hook

    with ExitStack() as hooks:
        for name in dict.fromkeys(names):
            handle = model.get_submodule(name).register_forward_hook(keep(name), with_kwargs=True)
            hooks.callback(handle.remove)
        run()
    return seen


def _split(output: Tensor, site: Site, valid: Tensor) -> Iterator[Tensor]:
    """The output of a module that merges several of the oracle's (q, k, v; gate, up), one tensor for each."""
    rows = output.movedim(-1, 0)
    for piece in site.entry.operation([rows]):
        yield _tokens(piece.values().movedim(0, -1), valid, site, ours=True)


def _tokens(value: Tensor, valid: Tensor, site: Site, *, ours: bool) -> Tensor:
    """[T, F] of the decoder's real tokens, batch by batch, whichever way round they lie; others as they are."""
    if not site.in_decoder:
        return value
    batch, length = valid.shape
    lying = (length, batch) if ours else (batch, length)
    if value.shape[:2] != lying and value.shape[0] == batch * length:
        value = value.unflatten(0, lying)
    if value.shape[:2] != lying:
        return value
    value = value.transpose(0, 1) if ours else value
    return value.flatten(2)[valid]


def _differ(ours: Tensor, oracle: Tensor) -> bool:
    return ours.numel() == oracle.numel() and relative_error(ours.reshape(oracle.shape), oracle) > LOGITS_BOUND
