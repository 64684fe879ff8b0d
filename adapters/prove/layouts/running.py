"""From specs and layouts to proofs: the measure in this process, the layouts of all specs in others."""

import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import frozen

from adapters.huggingface.configured import load_configured
from adapters.huggingface.import_weights import import_weights
from adapters.megatron import build
from adapters.parity.batch import make_batch
from adapters.parity.oracle import build_oracle, save_oracle
from adapters.parity.tiny import splittable
from adapters.parity.variants import AS_CONFIGURED, all_variants
from adapters.prove.layouts.alone import loss_and_gradients
from adapters.prove.layouts.batches import global_batches
from adapters.prove.layouts.findings import BOUND, LayoutProof, gradient_bound, layout_proof
from adapters.prove.layouts.job import WEIGHTS, Case, read_alone, read_graph, write_alone, write_graph
from adapters.prove.layouts.launching import WORKER, run_cases
from adapters.prove.layouts.names import LayoutError, NamedLayout
from components.language.gpt_declaration import has_experts
from composer import Graph, load

Progress = Callable[[str], None]


@frozen
class LayoutsReport:
    """All proofs of a spec under layouts."""

    spec: str
    proofs: tuple[LayoutProof, ...]
    problem: str | None = None
    """Why there are none: what went wrong in the process alone."""
    gradient_bound: float = BOUND

    @property
    def exit_code(self) -> int:
        return 0 if self.proofs and all(proof.green for proof in self.proofs) else 1


@frozen
class Subject:
    """One spec: its tiny models by the name of their folder, `SPEC/VARIANT`, and each under the layouts that fit it."""

    spec: str
    graphs: dict[str, Graph]
    cases: tuple[Case, ...]


def run(
    specs: Iterable[str | Path],
    layouts: Sequence[NamedLayout],
    hf: str | Path | dict[str, Any] | None = None,
    overrides: Sequence[str] = (),
    *,
    seed: int = 0,
    progress: Progress = lambda _: None,
    worker: str = WORKER,
) -> tuple[LayoutsReport, ...]:
    """Prove tiny models of specs under layouts, in float32, each rank a process of this machine.

    Processes are started once for each number of ranks, not once a spec: starting them takes longer than a proof. What
    goes wrong with one model, or under one layout, is in the report of its spec, and the others are proved.

    Args:
        specs: spec files.
        layouts: see `parse_layouts`.
        hf: the checkpoint whose structure is taken; None: each spec's default.
        overrides: `path=value`, applied after the sizes were shrunk.
        seed: of weights and batches.
        progress: told what is being done.
        worker: the module that each rank runs.

    Raises:
        SpecError: a spec has problems.
        LayoutError: there are fewer GPUs than ranks, or no model of a spec for a layout, or two specs of one name.
    """
    subjects = [_subject(spec, layouts, hf, overrides) for spec in specs]
    names = Counter(subject.spec for subject in subjects)
    if twice := [name for name, count in names.items() if count > 1]:
        raise LayoutError(f"two specs are called {twice[0]}: results go by name")
    with tempfile.TemporaryDirectory(prefix="vlm-composer-") as name:
        folder = Path(name)
        problems = {subject.spec: _prepared(subject, folder, seed, progress) for subject in subjects}
        ready = [subject for subject in subjects if problems[subject.spec] is None]
        failed = run_cases(folder, [case for subject in ready for case in subject.cases], progress, worker)
        return tuple(_report(folder, subject, problems[subject.spec], failed) for subject in subjects)


def _subject(spec: str | Path, layouts: Sequence[NamedLayout], hf: Any, overrides: Sequence[str]) -> Subject:
    graphs = tiny_graphs(spec, hf, overrides, max(named.layout.tp for named in layouts))
    name = next(iter(graphs.values())).name
    graphs = {f"{name}/{variant}": graph for variant, graph in graphs.items()}
    cases = list(
        # Two names may mean one layout: where there are experts, tensor parallelism brings sequence parallelism.
        {
            (variant, fitting.layout, fitting.data_ranks, fitting.distributed_optimizer): Case(variant, fitting)
            for named in layouts
            for variant, graph in graphs.items()
            if (fitting := named.for_model(experts=has_experts(graph.decoder().config))) is not None
        }.values()
    )
    if not cases:
        raise LayoutError(f"no model of {name} has experts: there is nothing to prove under expert parallelism")
    return Subject(name, graphs, tuple(cases))


def tiny_graphs(
    spec: str | Path, hf: str | Path | dict[str, Any] | None, overrides: Sequence[str], ranks: int
) -> dict[str, Graph]:
    """The spec at tiny sizes that `ranks` tensor-parallel ranks can share: as configured, and without experts."""
    configured = load_configured(spec, hf)
    found: dict[str, Graph] = {}
    for variant in all_variants(spec, configured, given=hf is not None):
        idle = variant.name != AS_CONFIGURED
        tiny = splittable(variant.hf_config, ranks)
        graph = load(spec, hf=tiny, overrides=overrides, idle_overrides=idle)
        found.setdefault("experts" if has_experts(graph.decoder().config) else "dense", graph)
    return found


def _prepared(subject: Subject, folder: Path, seed: int, progress: Progress) -> str | None:
    """What went wrong; None: nothing did."""
    for variant, graph in subject.graphs.items():
        progress(f"{variant}: one process alone")
        try:
            prepare(graph, folder / variant, seed)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is this spec's alone)
            where = traceback.extract_tb(error.__traceback__)[-1]
            return f"{variant}, one process alone: {type(error).__name__}: {error} ({where.filename}:{where.lineno})"
    return None


def prepare(graph: Graph, folder: Path, seed: int = 0) -> None:
    """Leave spec, weights, batches and what one process finds in a variant's folder."""
    write_graph(graph, folder)
    oracle = build_oracle(graph, seed)
    _soften(oracle)
    save_oracle(graph, oracle, folder / WEIGHTS)
    model = build(graph).train()
    import_weights(model, folder / WEIGHTS)
    batches = global_batches(make_batch(graph, oracle, seed))
    write_alone(folder, batches, {name: loss_and_gradients(model, graph, batch) for name, batch in batches.items()})


@torch.no_grad()
def _soften(oracle: torch.nn.Module) -> None:
    """Queries of half the size: random models whose scores are not divided by anything attend sharply.

    Sharp attention multiplies rounding: float32 in one process is then 1.6e-5 from float64, and what is to be compared
    here to 1e-5 is float32 with float32 that adds in another order.
    """
    for name, parameter in oracle.named_parameters():
        if name.endswith("q_norm.weight"):
            parameter.mul_(0.5)


def _report(folder: Path, subject: Subject, problem: str | None, failed: dict[str, str]) -> LayoutsReport:
    if problem is not None:
        return LayoutsReport(subject.spec, (), problem)
    proofs = (
        LayoutProof(case, (), 0, (failed[case.id],)) if case.id in failed else collect(folder, case)
        for case in subject.cases
    )
    bound = max(map(gradient_bound, subject.graphs.values()))
    return LayoutsReport(subject.spec, tuple(proofs), gradient_bound=bound)


def collect(folder: Path, case: Case) -> LayoutProof:
    """The proof of a case whose ranks have run."""
    return layout_proof(case, read_graph(folder / case.variant), read_alone(folder / case.variant), folder)
