"""All ranks of some layouts, one after the other in this process, filled from one checkpoint.

`python -m tests.adapters.megatron.parameter_names_worker FOLDER`: prints, for each layout, how often each name of the
whole model was found, and which of them stood at other values than on one rank.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import torch
from torch import distributed
from torch.testing._internal.distributed.fake_pg import FakeStore

from adapters.huggingface.import_weights import import_weights
from adapters.megatron import ComposedModel, build, runtime
from adapters.megatron.layout import group_sizes, model_overrides
from adapters.megatron.parameter_names import canonical_names
from adapters.parity.oracle import build_oracle, no_progress_bars
from composer.plans.layout import Layout
from tests.distributed.graphs import tiny

WORLD = 8
LAYOUTS = {
    "dp": Layout(),
    "pp2": Layout(pp=2),
    "pp4": Layout(pp=4),
    "pp2vp2": Layout(pp=2, virtual_stages=2),
    "pp2_first1": Layout(pp=2, first_stage_layers=1),
    "pp2_first0": Layout(pp=2, first_stage_layers=0),
    "ep4": Layout(ep=4),
    "pp2ep4": Layout(pp=2, ep=4),
    "pp2vp2ep2": Layout(pp=2, virtual_stages=2, ep=2),
    "tp2ep2etp2": Layout(tp=2, sequence_parallel=True, ep=2, etp=2),
}


def stages(folder: Path, layout: Layout, rank: int) -> list[ComposedModel]:
    """One rank's stages."""
    distributed.init_process_group("fake", store=FakeStore(), rank=rank, world_size=WORLD)
    runtime.init(create_gloo_process_groups=False, **group_sizes(layout))
    places = range(layout.virtual_stages) if layout.virtual_stages > 1 else [None]
    graph = tiny("experts")
    overrides = model_overrides(layout, graph.decoder().config.config.num_layers)
    models = [build(graph, vp_stage=place, **overrides) for place in places]
    for model in models:
        import_weights(model, folder)
    return models


def main(folder: Path) -> dict[str, dict]:
    with no_progress_bars():
        build_oracle(tiny("experts")).save_pretrained(folder)
    whole = build(tiny("experts"))
    import_weights(whole, folder)
    expected = {name: parameter.detach() for name, parameter in whole.named_parameters()}
    assert len({values.sum().item() for values in expected.values()}) > 0.5 * len(expected)
    runtime.destroy()
    found: dict[str, dict] = {}
    for layout_name, layout in LAYOUTS.items():
        counts: Counter[str] = Counter()
        wrong = set()
        for rank in range(WORLD):
            for model in stages(folder, layout, rank):
                names = canonical_names(model)
                assert len(names) == len(list(model.parameters()))
                counts.update(names.keys())
                wrong |= {name for name, p in names.items() if not same(p.detach(), expected.get(name))}
            runtime.destroy()
        found[layout_name] = {"counts": counts, "wrong": sorted(wrong)}
    return {"whole": list(expected), "layouts": found}


def same(own: torch.Tensor, whole: torch.Tensor | None) -> bool:
    """Whether a tensor is the whole one; of a part of it, whether all its values are there."""
    if whole is None:
        return False
    return torch.equal(own, whole) if own.shape == whole.shape else bool(torch.isin(own, whole).all())


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(main(Path(sys.argv[1]))))
