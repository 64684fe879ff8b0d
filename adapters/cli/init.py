"""`vlm-composer init`: a commented spec for a checkpoint."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from adapters.cli.failure import UsageError
from adapters.cli.quiet import quiet


def init(
    *,
    from_hf: Annotated[str, Parameter(help="Checkpoint directory, hub id or config.json.")],
    out: Annotated[Path, Parameter(help="The spec to write; its configuration goes beside it, as .json.")],
    anew: Annotated[
        bool, Parameter(negative="", help="Compose it even if a shipped spec stands for the checkpoint.")
    ] = False,
    force: Annotated[bool, Parameter(negative="", help="Write over files that are there.")] = False,
) -> None:
    """Write a commented spec for a checkpoint.

    A shipped spec is taken if one stands for the checkpoint's classes. Else the nearest composition is made: modules
    are read off transformers' model, the rest is measured on a tiny one, and what cannot be decided is listed.
    """
    beside = out.with_suffix(".json")
    for path in (out, beside):
        if path.exists() and not force:
            raise UsageError(f"{path}: is there already. Name another file (--out), or write over it (--force).")
    from adapters.huggingface.config import plain

    config = plain(str(Path(from_hf).expanduser()))
    quiet()
    from adapters.init import make

    draft = make(config, out.stem, out.parent, anew=anew)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(draft.text, encoding="utf-8")
    beside.write_text(json.dumps(draft.config, indent=2) + "\n", encoding="utf-8")
    of = f"the shipped spec {draft.shipped}" if draft.shipped else f"composed, {len(draft.undecided)} undecided"
    print(f"{out}: {of}; its configuration is {beside.name}")
    for note in draft.undecided:
        print(f"  undecided: {note}")
    print(f"next: vlm-composer validate {out}, parity {out}, prove {out}")
