"""`vlm-composer train`: train a spec on a folder of pictures and conversations."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from adapters.cli.arguments import Hf, Overrides, Spec, existing, load_graph
from adapters.cli.quiet import quiet


def train(
    spec: Spec,
    settings: Annotated[Path, Parameter(help="Training settings: a YAML file.")],
    data: Annotated[Path, Parameter(help="Folder with train.jsonl and its pictures.")],
    /,
    *,
    hf: Hf = None,
    set_: Overrides = [],  # noqa: B006 (cyclopts reads the default)
    weights: Annotated[Path | None, Parameter(help="Hugging Face checkpoint to start from [fresh weights].")] = None,
    tokenizer: Annotated[Path | None, Parameter(help="Folder of tokenizer.json [that of the weights or data].")] = None,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="Folder of the run.")] = Path("runs/train"),
    dry_run: Annotated[bool, Parameter(negative="", help="Build, check the first batch, train nothing.")] = False,
) -> None:
    """Train a spec on a folder of pictures and conversations (LLaVA-style JSONL).

    Logs go to the run's folder as JSONL and for TensorBoard; the trained checkpoint to its folder `hf`.
    """
    from adapters.training.settings_file import load_settings

    for path in (settings, data, weights, tokenizer):
        existing(path)
    chosen = load_settings(settings)
    graph = load_graph(spec, hf or (str(weights) if weights else None), set_)
    quiet()
    from adapters.training import run

    run(graph, chosen, data, output, weights=weights, tokenizer_dir=tokenizer, dry_run=dry_run)
