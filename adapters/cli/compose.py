"""`vlm-composer compose`: a model from several checkpoints, and what became of every tensor of them."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from adapters.cli.arguments import Hf, Overrides, Spec, load_graph
from adapters.cli.failure import UsageError
from adapters.cli.quiet import quiet
from adapters.cli.weights import Dtype

Weights = Annotated[
    list[str],
    Parameter(name="--weights", negative="", help="node=checkpoint: a node's own [as the spec says]. Repeatable."),
]


def compose(
    spec: Spec,
    target: Annotated[
        Path | None,
        Parameter(help="Directory of the composed checkpoint; made if absent [only say what it would hold]."),
    ] = None,
    /,
    *,
    hf: Hf = None,
    weights: Weights = [],  # noqa: B006 (cyclopts reads the default)
    set_: Overrides = [],  # noqa: B006 (cyclopts reads the default)
    dtype: Annotated[
        Dtype, Parameter(help="What values are stored as; checkpoint: as in that of the last node that has one.")
    ] = ("checkpoint"),
    seed: Annotated[int, Parameter(help="Seed of fresh weights.")] = 0,
    json_: Annotated[Path | None, Parameter(name="--json", help="File that gets every name.")] = None,
) -> None:
    """Start a model whose nodes come from checkpoints of their own, or fresh; say what became of every tensor.

    A node's checkpoint is what `--weights` names, else what the spec's `checkpoint` does: a directory, or a part of
    `hf.compose` whose source is one (`--hf vision_config=DIR,text_config=DIR`).
    """
    graph = load_graph(spec, hf, set_)
    quiet()
    import torch

    from adapters import composed_checkpoint
    from adapters.huggingface.sources import parse_sources, sources_of
    from adapters.huggingface.start_report import plain_report, print_report
    from adapters.megatron.start import fill_nodes
    from adapters.plans.meta_model import alone, start_on_meta

    whole, given = parse_sources(weights)
    if whole is not None:
        raise UsageError(f"--weights {whole}: name its node, as in vision_tower={whole}; `import` reads whole models.")
    sources = sources_of(graph, given)
    stored = [composed_checkpoint.dtype_of(place) for place in sources.values()] or [torch.float32]
    chosen = stored[-1] if dtype == "checkpoint" else getattr(torch, dtype)
    if target is None:
        start = alone(start_on_meta, graph, sources, chosen)
    else:
        from adapters.megatron import build

        torch.manual_seed(seed)
        model = build(graph, dtype=chosen)
        start = fill_nodes(model, graph, sources)
        composed_checkpoint.save(model, graph, target)
    print_report(start)
    if json_ is not None:
        json_.write_text(json.dumps(plain_report(start), indent=2) + "\n", encoding="utf-8")
    if target is not None:
        print(f"{target}: {graph.name}")
