"""How the files of a checkpoint differ from the model in memory, read off files that transformers saves."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from adapters.init.draft import Notes
from adapters.init.inspection import Inspected
from adapters.parity.oracle import no_progress_bars, perturb
from components.hf_config import to_hf_config

HEAD = "lm_head"
EXPERT_WORDS = ("gate_proj", "up_proj", "down_proj")


def stored(inspected: Inspected, prefixes: list[str], notes: Notes) -> dict[str, Any]:
    """The section `hf.stored`: empty if files hold the names of memory.

    Args:
        inspected: the model.
        prefixes: of the weights that nodes of the spec name.
        notes: gets what no beginning of a name explains.
    """
    memory, files = _saved(inspected)
    renamed: dict[str, str] = {}
    experts = "stacked"
    for prefix in [HEAD, *prefixes]:
        below = sorted(name for name in memory if name == prefix or name.startswith(f"{prefix}."))
        found = _beginning(below, prefix, memory, files)
        if found is not None and found != prefix:
            renamed[prefix] = found
        strange = [name for name in below if (found or prefix) + name.removeprefix(prefix) not in files]
        stacks = [name for name in strange if name.endswith(("experts.gate_up_proj", "experts.down_proj"))]
        if stacks and any(f"experts.0.{word}.weight" in name for name in files for word in EXPERT_WORDS):
            experts = "each"
        others = [name for name in strange if name not in stacks and not name.startswith(HEAD)]
        if others:
            notes.add("hf.stored", f"files have another name for {others[0]}" + _more(others))
    return {**({"experts": experts} if experts != "stacked" else {}), **({"names": renamed} if renamed else {})}


def _beginning(below: list[str], prefix: str, memory: dict[str, Tensor], files: dict[str, Tensor]) -> str | None:
    """What stands in the files in place of the prefix: where the same numbers are, under a name that ends alike."""
    for name in below[:5]:
        end, wanted = name.removeprefix(prefix), memory[name]
        for file, found in files.items():
            if file.endswith(end) and found.shape == wanted.shape and torch.equal(found, wanted):
                return file.removesuffix(end)
    return None


def _saved(inspected: Inspected) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A tiny model's tensors in memory, and in the files it is saved to; its output layer is its own."""
    config = to_hf_config(inspected.tiny | {"tie_word_embeddings": False})
    model: Any = type(inspected.model)(config)
    perturb(model)
    with TemporaryDirectory(prefix="vlm-composer-init-") as folder, no_progress_bars():
        model.save_pretrained(folder)
        files = [load_file(path) for path in sorted(Path(folder).glob("*.safetensors"))]
    return model.state_dict(), {name: tensor for file in files for name, tensor in file.items()}


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
