"""From a spec and layouts to proofs: the measure in this process, the layouts in others, one launch a rank count."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import frozen

from adapters.huggingface.configured import load_configured
from adapters.huggingface.import_weights import import_weights
from adapters.megatron import build
from adapters.parity.batch import make_batch
from adapters.parity.oracle import build_oracle, no_progress_bars
from adapters.parity.tiny import splittable
from adapters.parity.variants import all_variants
from adapters.prove.layouts.alone import loss_and_gradients
from adapters.prove.layouts.batches import global_batches
from adapters.prove.layouts.findings import LayoutProof, layout_proof
from adapters.prove.layouts.job import WEIGHTS, Case, read_alone, read_graph, write_alone, write_cases, write_graph
from adapters.prove.layouts.names import LayoutError, NamedLayout
from components.language.gpt_declaration import has_experts
from composer import Graph, load

TIMEOUT_S = 1800
LINES_OF_FAILURE = 40
WORKER = "adapters.prove.layouts.worker"


class LayoutRunError(RuntimeError):
    """The processes of a layout did not end well; holds the end of what they said."""


@frozen
class LayoutsReport:
    """All proofs of a spec under layouts."""

    spec: str
    proofs: tuple[LayoutProof, ...]

    @property
    def exit_code(self) -> int:
        return 0 if self.proofs and all(proof.green for proof in self.proofs) else 1


def run(
    spec: str | Path,
    layouts: Sequence[NamedLayout],
    hf: str | Path | dict[str, Any] | None = None,
    overrides: Sequence[str] = (),
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
    worker: str = WORKER,
) -> LayoutsReport:
    """Prove tiny models of a spec under layouts, in float32, each rank a process of this machine.

    Args:
        spec: a spec file.
        layouts: see `parse_layouts`.
        hf: the checkpoint whose structure is taken; None: the spec's default.
        overrides: `path=value`, applied after the sizes were shrunk.
        seed: of weights and batches.
        progress: told what is being done.
        worker: the module that each rank runs.

    Raises:
        SpecError: the spec has problems.
        LayoutError: there are fewer GPUs than ranks, or no model for a layout.
        LayoutRunError: a rank failed.
    """
    graphs = tiny_graphs(spec, hf, overrides, max(named.layout.tp for named in layouts))
    cases = [
        Case(variant, fitting)
        for named in layouts
        for variant, graph in graphs.items()
        if (fitting := named.for_model(experts=has_experts(graph.decoder().config))) is not None
    ]
    if not cases:
        raise LayoutError("no model of this spec has experts: there is nothing to prove under expert parallelism")
    with tempfile.TemporaryDirectory(prefix="vlm-composer-") as name:
        folder = Path(name)
        for variant, graph in graphs.items():
            progress(f"{variant}: one process alone")
            prepare(graph, folder / variant, seed)
        write_cases(folder, cases)
        for ranks in sorted({case.named.ranks for case in cases}):
            progress(
                f"{ranks} ranks: {', '.join(dict.fromkeys(c.named.name for c in cases if c.named.ranks == ranks))}"
            )
            launch(folder, ranks, worker)
        return LayoutsReport(next(iter(graphs.values())).name, tuple(collect(folder, case) for case in cases))


def tiny_graphs(
    spec: str | Path, hf: str | Path | dict[str, Any] | None, overrides: Sequence[str], ranks: int
) -> dict[str, Graph]:
    """The spec at tiny sizes that `ranks` tensor-parallel ranks can share: as configured, and without experts."""
    configured = load_configured(spec, hf)
    found: dict[str, Graph] = {}
    for variant in all_variants(spec, configured, given=hf is not None):
        graph = load(spec, hf=splittable(variant.hf_config, ranks), overrides=overrides)
        found.setdefault("experts" if has_experts(graph.decoder().config) else "dense", graph)
    return found


def prepare(graph: Graph, folder: Path, seed: int = 0) -> None:
    """Leave spec, weights, batches and what one process finds in a variant's folder."""
    write_graph(graph, folder)
    oracle = build_oracle(graph, seed)
    _soften(oracle)
    with no_progress_bars():
        oracle.save_pretrained(folder / WEIGHTS)
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


def launch(folder: Path, ranks: int, worker: str = WORKER) -> None:
    """Run a worker on `ranks` processes of this machine: on as many GPUs, or without any on the CPU.

    Raises:
        LayoutError: there are GPUs, but fewer.
        LayoutRunError: a process failed, or they did not end in time.
    """
    if torch.cuda.is_available() and torch.cuda.device_count() < ranks:
        raise LayoutError(f"{ranks} ranks need {ranks} GPUs; here are {torch.cuda.device_count()}")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    here = str(Path(__file__).parents[3])
    paths = os.pathsep.join(path for path in (here, os.environ.get("PYTHONPATH", "")) if path)
    done = subprocess.run(  # noqa: S603 (our own worker)
        [*command, "-m", worker, str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        timeout=TIMEOUT_S,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).splitlines()
        lines = [line for line in said if line.startswith("[rank")] or said  # the launcher's own words come after
        raise LayoutRunError(f"a rank of {ranks} failed:\n" + "\n".join(lines[-LINES_OF_FAILURE:]))


def collect(folder: Path, case: Case) -> LayoutProof:
    """The proof of a case whose ranks have run."""
    return layout_proof(case, read_graph(folder / case.variant), read_alone(folder / case.variant), folder)
