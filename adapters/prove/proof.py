"""`vlm-composer prove`: who changes when one projected feature row does, and which nodes gradient reaches.

Two measures, so that neither a wrong lowering nor a wrong rule passes: the spec's own rule, read pair by pair, and
transformers' model with the same weights and the same row turned around.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from adapters.huggingface.configured import load_configured
from adapters.megatron.module import ComposedModel
from adapters.parity.gradients import entries
from adapters.parity.oracle import oracle_logits
from adapters.parity.pair import Pair, logits, make_pair
from adapters.parity.variants import variants
from adapters.prove.freezing import prove_freezing
from adapters.prove.perturbation import attending_alone, changes, perturbed_embedding, turned_answer, turned_rows
from adapters.prove.placed import Placed, placed_rows
from adapters.prove.report import UNCHANGED_BOUND, KindProof, ProveReport
from components.vision.hf_tower_declaration import Levels
from composer import Graph, load, masks
from composer.edges import InjectEdge, MaskEdge, ScatterEdge
from composer.items import item_groups


def run(
    spec: str | Path,
    hf: str | Path | dict[str, Any] | None = None,
    overrides: Sequence[str] = (),
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> ProveReport:
    """Prove a spec on a tiny random model, in float32 on the CPU.

    Args:
        spec: a spec file.
        hf: the checkpoint whose structure is taken: directory, hub id, file or dict; None: the spec's default.
        overrides: `path=value`, as for `composer.load`; applied after the sizes were shrunk.
        seed: of weights and batch.
        progress: told what is being proved.

    Raises:
        SpecError: the spec has problems.
        CheckpointError: the spec's parts are not those of its transformers model; see `parity`.
    """
    configured = load_configured(spec, hf)
    tiny = variants(spec, configured.hf_config)[0]
    return prove_graph(load(spec, hf=tiny.hf_config, overrides=overrides), seed=seed, progress=progress)


def prove_graph(graph: Graph, *, seed: int = 0, progress: Callable[[str], None] = lambda _: None) -> ProveReport:
    """Prove one graph, already of a tiny size."""
    with make_pair(graph, seed) as pair:
        return prove_pair(pair, progress)


def prove_pair(pair: Pair, progress: Callable[[str], None] = lambda _: None) -> ProveReport:
    """Prove the model of a pair as it is built."""
    graph = pair.graph
    order = graph.decoder().config.layers.order
    (mask,) = (edge for edge in graph.edges if isinstance(edge, MaskEdge))
    proofs = []
    for placed in placed_rows(graph):
        for layer in placed.watching(order):
            progress(f"layer {layer}: rows of {placed.edge.source} at {', '.join(placed.edge.at)}")
            proofs.append(_prove(pair, placed, layer, mask.rules[order[layer]]))
    progress("gradient")
    return ProveReport(graph.name, tuple(proofs), prove_freezing(pair))


@frozen
class _Token:
    """Where a feature row went."""

    row: int
    sample: int
    position: int


def _prove(pair: Pair, placed: Placed, layer: int, rule: masks.Rule) -> KindProof:
    """Turn every row around that is placed, with layer `layer` attending alone."""
    edge, ours = placed.edge, pair.ours
    assert isinstance(ours, ComposedModel)
    before = _rows_before(pair, edge)
    allowed, valid = _allowed(pair, rule), pair.batch.attention_mask.cpu()
    tokens = _tokens(pair, edge)
    runs = _runs(pair, edge)
    problems: list[str] = []
    counts = torch.zeros(3, dtype=torch.long)
    unchanged, changed = 0.0, float("inf")
    with attending_alone(layer, entries(pair.ours, pair.graph), pair.ours, pair.oracle):
        run_ours, run_oracle = (lambda: logits(pair.ours, pair.batch)), (lambda: oracle_logits(pair.oracle, pair.batch))
        with torch.no_grad():
            references = run_ours(), run_oracle()
        for token in tokens:
            expected = torch.zeros_like(valid)
            if placed.sees(layer):
                expected[token.sample] = allowed[token.sample, :, token.position]
            expected[token.sample, token.position] = True
            expected &= valid
            measured = changes(run_ours, turned_rows(ours, edge.at, [token.row], placed.level), references[0])
            seen = (measured > UNCHANGED_BOUND) & valid
            turned = _turned(pair, placed, token, before)
            by_oracle = (changes(run_oracle, turned, references[1]) > UNCHANGED_BOUND) & valid
            problems += _differences(token, seen, expected, f"by the rule {rule}")
            problems += _differences(token, seen, by_oracle, "by transformers")
            counts += _counts(token, seen, runs, valid)
            unchanged = max(unchanged, float(measured[~expected & valid].max()))
            changed = min(changed, float(measured[expected].min()))
    earlier, after, before = counts.tolist()
    name = pair.graph.decoder().config.layers.order[layer]
    if placed.level is not None:
        name = f"{', '.join(edge.at)}, level {placed.level}: layer {layer}"
    return KindProof(name, str(rule), len(tokens), earlier, after, before, unchanged, changed, tuple(problems))


def _turned(pair: Pair, placed: Placed, token: _Token, before: int) -> AbstractContextManager[None]:
    """A feature row turned around in the oracle: where the same module answers it, or where it is in the text already.

    The latter is where a node has no module of its own in transformers. `before` rows are answered earlier.
    """
    graph = pair.graph
    node = graph.nodes[placed.edge.source.owner]
    if graph.component(node.name).tensors is not None:
        text = pair.oracle.get_submodule(str(graph.decoder().weights))
        return perturbed_embedding(text, token.sample, token.position)
    if node.weights is None:
        raise ValueError(f"{node.name} names no weights: its module in transformers is unknown")
    module, row = pair.oracle.get_submodule(node.weights), before + token.row
    if placed.level is None:
        return turned_answer(module, getattr(node.config, "output", None), None, row)
    levels: Levels = node.config.levels[str(placed.edge.source.port)]
    if levels.output is None:
        return turned_answer(module, "hidden_states", levels.layers[placed.level], row)
    return turned_answer(module, levels.output, placed.level, row)


def _allowed(pair: Pair, rule: masks.Rule) -> Tensor:
    """[B, S, S] bool of the rule's own meaning, query by key; padding before the first token is another document."""
    names = {token: name for name, token in pair.graph.tokens.items()}
    whole = []
    padding = (pair.batch.attention_mask.cumsum(-1) == 0).long().tolist()
    for row, before in zip(pair.batch.input_ids.tolist(), padding, strict=True):
        sequence = masks.Layout(tuple(names.get(token) for token in row), before)
        pairs = [[masks.allowed(rule, query, key, sequence) for key in range(len(row))] for query in range(len(row))]
        whole.append(pairs)
    return torch.tensor(whole)


def _tokens(pair: Pair, edge: ScatterEdge | InjectEdge) -> list[_Token]:
    """The token each feature row goes to, batch-major."""
    wanted = torch.tensor([pair.graph.tokens[name] for name in edge.at])
    places = torch.isin(pair.batch.input_ids.cpu(), wanted).nonzero().tolist()
    return [_Token(row, sample, position) for row, (sample, position) in enumerate(places)]


def _rows_before(pair: Pair, edge: ScatterEdge | InjectEdge) -> int:
    """Rows that transformers' module answers before those of this edge: items of other inputs, group by group."""
    groups = item_groups(pair.graph, edge.source.owner)
    earlier: set[str] = set()
    for group in groups:
        if edge.of is None or edge.of in group:
            break
        earlier |= set(group)
    others = [other for other in pair.graph.edges if isinstance(other, ScatterEdge) and other.of in earlier]
    return sum(len(_tokens(pair, other)) for other in others)


def _runs(pair: Pair, edge: ScatterEdge | InjectEdge) -> Tensor:
    """[B, S] number of the stretch of the edge's placeholders each token is in, -1 outside."""
    wanted = torch.tensor([pair.graph.tokens[name] for name in edge.at])
    inside = torch.isin(pair.batch.input_ids.cpu(), wanted)
    starts = inside.clone()
    starts[:, 1:] &= ~inside[:, :-1]
    return torch.where(inside, starts.cumsum(-1), -1)


def _differences(token: _Token, seen: Tensor, expected: Tensor, why: str) -> list[str]:
    where = f"row {token.row} (sample {token.sample}, token {token.position})"
    return [
        f"{where}: token {position} of sample {sample} "
        + ("changed and must not, " if seen[sample, position] else "did not change and must, ")
        + why
        for sample, position in (seen != expected).nonzero().tolist()
    ]


def _counts(token: _Token, seen: Tensor, runs: Tensor, valid: Tensor) -> Tensor:
    """[3] tokens of the same sample that changed: earlier in the same run, later text, earlier text."""
    here, run = seen[token.sample], runs[token.sample]
    position = torch.arange(len(here))
    text = (run < 0) & valid[token.sample]
    earlier, later = position < token.position, position > token.position
    same = run == run[token.position]
    return torch.stack([(here & earlier & same).sum(), (here & later & text).sum(), (here & earlier & text).sum()])
