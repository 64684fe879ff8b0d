"""A run's layout in Megatron-Core's words."""

from typing import Any

from composer.plans.layout import Layout
from composer.plans.placement import place


def group_sizes(layout: Layout) -> dict[str, Any]:
    """Arguments of `runtime.init`."""
    sizes: dict[str, Any] = {name: getattr(layout, name) for name in ("tp", "pp", "cp", "ep", "etp")}
    if layout.virtual_stages > 1:
        sizes["virtual_pipeline_model_parallel_size"] = layout.virtual_stages
    return sizes


def model_overrides(layout: Layout, num_layers: int) -> dict[str, Any]:
    """Arguments of `build`.

    Args:
        layout: of the run.
        num_layers: of the decoder.

    Raises:
        PlacementError: the layers cannot be dealt out so.
    """
    settings: dict[str, Any] = {"sequence_parallel": layout.sequence_parallel}
    if layout.first_stage_layers is not None or layout.last_stage_layers is not None:
        # Megatron-Core's own two numbers cannot be 0: a rank that only embeds and encodes, or only makes logits.
        settings["pipeline_model_parallel_layout"] = [
            [*["embedding"] * chunk.first, *["decoder"] * len(chunk.layers), *["loss"] * chunk.last]
            for chunk in place(num_layers, layout)
        ]
    if layout.recompute == "full":
        settings |= {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}
    elif layout.recompute == "selective":
        settings["recompute_granularity"] = "selective"
        if layout.recompute_modules:
            settings["recompute_modules"] = list(layout.recompute_modules)
    return settings


def sequence_multiple(layout: Layout) -> int:
    """What the length of sequences must be a multiple of.

    Context-parallel ranks hold two stretches each, one from either end, and sequence parallelism splits those again.
    """
    return (layout.tp if layout.sequence_parallel else 1) * (2 * layout.cp if layout.cp > 1 else 1)
