"""`vlm-composer import` and `export`: between Hugging Face checkpoints and composed ones."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from adapters.cli.arguments import Hf, Overrides, Spec, existing, load_graph
from adapters.cli.quiet import quiet

Dtype = Literal["checkpoint", "float32", "bfloat16", "float16"]

EXPORTED = (
    "A composed checkpoint, or a run's checkpoints/step-… of any layout. A run's must be one that you trust, because "
    "torch unpickles its .metadata; of Hugging Face checkpoints only safetensors are read, and pickles are refused."
)


def import_(
    spec: Spec,
    source: Annotated[Path, Parameter(help="Hugging Face checkpoint: a directory of safetensors.")],
    target: Annotated[Path, Parameter(help="Directory of the composed checkpoint; made if absent.")],
    /,
    *,
    hf: Hf = None,
    set_: Overrides = [],  # noqa: B006 (cyclopts reads the default)
    dtype: Annotated[Dtype, Parameter(help="What values are stored as.")] = "checkpoint",
) -> None:
    """Turn a Hugging Face checkpoint into a composed one: the model's own tensors, and the resolved spec.

    Sizes come from the checkpoint's config.json unless `--hf` says otherwise.
    """
    existing(source)
    graph = load_graph(spec, hf or str(source), set_)
    quiet()
    import torch

    from adapters import composed_checkpoint
    from adapters.huggingface.import_weights import import_weights
    from adapters.megatron import build

    stored = composed_checkpoint.dtype_of(source)
    model = build(graph, dtype=stored if dtype == "checkpoint" else getattr(torch, dtype))
    imported = import_weights(model, source)
    composed_checkpoint.save(model, graph, target)
    changed = "".join(f", {count} from {old} to {new}" for (old, new), count in imported.conversions.items())
    print(f"{target}: {imported.tensors} tensors of {source}{changed}")
    if imported.fresh:
        print(f"fresh weights, not from the checkpoint (no `weights` in the spec): {', '.join(imported.fresh)}")


def export(
    source: Annotated[Path, Parameter(help=EXPORTED)],
    target: Annotated[Path, Parameter(help="Directory of the Hugging Face checkpoint; made if absent.")],
    /,
    *,
    max_shard_gb: Annotated[float, Parameter(help="Largest file, in GB.")] = 5.0,
) -> None:
    """Turn a composed checkpoint, or one of a training run, into a Hugging Face one, which `from_pretrained` reads."""
    existing(source)
    quiet()
    from adapters.huggingface.export_weights import export_weights
    from adapters.saved_model import load_saved

    model, graph = load_saved(source)
    export_weights(model, target, max_shard_bytes=int(max_shard_gb * 1e9))
    print(f"{target}: {graph.architecture or graph.name}")
