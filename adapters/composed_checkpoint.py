"""A composed model on disk: its tensors under their own names, and the resolved spec that they belong to."""

from collections import Counter
from pathlib import Path

import torch
from torch import Tensor, nn

from adapters.huggingface.checkpoint import DTYPES, SINGLE, Stored, read_index, reading
from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.huggingface.composed_tensors import composed_tensors
from adapters.huggingface.safetensors_writer import file_order, write_safetensors
from composer import Graph, dump, load

SPEC = "spec.yaml"
MAPPED_BYTES = 64 * 2**20


def save(model: nn.Module, graph: Graph, folder: Path) -> None:
    """Write the tensors and the spec they belong to.

    Args:
        model: a whole `ComposedModel` (not one rank of several).
        graph: the graph it was built from.
        folder: made if absent.

    Raises:
        CheckpointError: weights are there already.
    """
    target = folder / SINGLE
    if target.exists():
        raise CheckpointError(folder, [f"holds weights already ({SINGLE}); choose another folder"])
    folder.mkdir(parents=True, exist_ok=True)
    tensors = composed_tensors(model)
    write_safetensors(target, tensors, (tensors[name] for name in file_order(tensors)))
    (folder / SPEC).write_text(dump(graph), encoding="utf-8")


def load_graph(folder: Path) -> Graph:
    """The graph that a folder's tensors belong to.

    Raises:
        CheckpointError: the folder holds no spec, so it is no composed checkpoint.
        SpecError: the spec in it is broken.
    """
    if not (folder / SPEC).is_file():
        raise CheckpointError(folder, [f"no {SPEC}: not a composed checkpoint (vlm-composer import makes one)"])
    return load(folder / SPEC)


@torch.no_grad()
def load_tensors(model: nn.Module, folder: Path) -> None:
    """Fill a model from a folder that `save` wrote; every tensor is used exactly once, nothing is converted.

    Raises:
        CheckpointError: lists all missing, surplus, mis-shaped and mis-typed tensors; nothing is written then.
    """
    stored, tensors = read_index(folder), composed_tensors(model)
    if problems := _problems(stored, tensors):
        raise CheckpointError(folder, problems)
    for file in sorted({found.file for found in stored.values()}):
        with reading(file, MAPPED_BYTES) as reader:
            for name, found in stored.items():
                if found.file == file:
                    tensors[name].copy_(reader.rows(found, (slice(None),)))


def dtype_of(folder: Path) -> torch.dtype:
    """The dtype that most of a checkpoint's values have.

    Raises:
        CheckpointError: the folder holds no readable safetensors, or values that are no floating-point numbers.
    """
    counts: Counter[str] = Counter()
    for found in read_index(folder).values():
        counts[found.dtype] += torch.Size(found.shape).numel()
    ((word, _),) = counts.most_common(1) or [("", 0)]
    if word not in DTYPES:
        raise CheckpointError(folder, [f"dtype {word or 'unknown'}: expected one of {', '.join(DTYPES)}"])
    return DTYPES[word]


def _problems(stored: dict[str, Stored], tensors: dict[str, Tensor]) -> list[str]:
    problems = [f"missing: {name} {list(tensor.shape)}" for name, tensor in tensors.items() if name not in stored]
    for name, found in stored.items():
        tensor = tensors.get(name)
        if tensor is None:
            problems.append(f"surplus: {name} {list(found.shape)}")
        elif found.shape != tuple(tensor.shape):
            problems.append(f"shape: {name}: expected {list(tensor.shape)}, found {list(found.shape)}")
    return problems
