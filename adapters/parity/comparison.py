"""`vlm-composer parity`: every variant of a spec against transformers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.huggingface.configured import load_configured
from adapters.parity.pair import make_pair, measure
from adapters.parity.report import ParityReport, VariantReport, logits_bound
from adapters.parity.variants import AS_CONFIGURED, Variant, all_variants
from components.hf_config import HfConfigError, to_hf_config
from composer import Graph, load


def run(
    spec: str | Path,
    hf: str | Path | dict[str, Any] | None = None,
    overrides: Sequence[str] = (),
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> ParityReport:
    """Compare tiny random models of a spec with transformers, in float32 on the CPU.

    Args:
        spec: a spec file.
        hf: the checkpoint whose structure is taken: directory, hub id, file or dict; None: the spec's default.
        overrides: `path=value`, as for `composer.load`; applied after the sizes were shrunk.
        seed: of weights and batch.
        progress: told the name of each variant before it is measured.

    Raises:
        SpecError: the spec has problems.
        OracleError, BatchError: there is nothing to compare with, or no test batch for this kind of input.
    """
    configured = load_configured(spec, hf)
    found = []
    for variant in all_variants(spec, configured, given=hf is not None):
        progress(variant.name)
        found.append(_measure(spec, variant, overrides, seed))
    architecture = " and ".join(configured.hf.architectures) if configured.hf else "nothing"
    lines = len(Path(spec).read_text(encoding="utf-8").splitlines())
    return ParityReport(configured.name, architecture, tuple(found), versions(), lines, logits_bound(configured))


def measure_graph(graph: Graph, name: str = "graph", seed: int = 0) -> VariantReport:
    """Compare one graph, already of a tiny size, whoever made it.

    Raises:
        OracleError, BatchError: there is nothing to compare with, or no test batch for this kind of input.
    """
    try:
        with make_pair(graph, seed) as pair:
            return measure(pair, name)
    except CheckpointError as error:
        return VariantReport(name, problem=str(error))


def versions() -> dict[str, str]:
    """What was compared with what."""
    from importlib.metadata import version

    return {name: version(name) for name in ("transformers", "megatron-core", "torch")}


def _measure(spec: str | Path, variant: Variant, overrides: Sequence[str], seed: int) -> VariantReport:
    try:
        to_hf_config(variant.hf_config)
    except HfConfigError as error:
        return VariantReport(variant.name, skipped=str(error))
    # A switched variant may be without what is overridden; the configured one may not.
    idle = variant.name != AS_CONFIGURED
    graph = load(spec, hf=variant.hf_config, overrides=overrides, idle_overrides=idle)
    return measure_graph(graph, variant.name, seed)
