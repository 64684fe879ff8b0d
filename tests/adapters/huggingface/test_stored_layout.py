"""Names in files that differ from those in memory, experts stored one by one, and layouts of older versions."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters.huggingface.checkpoint import SINGLE
from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.huggingface.composed_tensors import composed_tensors
from adapters.huggingface.import_weights import import_weights
from adapters.huggingface.rank_share import Part, RankShare
from adapters.huggingface.stored_layout import stored_map, stored_name
from adapters.megatron import build
from adapters.parity.oracle import build_oracle, no_progress_bars
from composer import Graph
from composer.graph import HfSection, Stored
from tests.parity.shipped_spec import tiny_of


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Transformers' own files of the spec with a CLIP tower."""
    graph = tiny_of("llava")
    folder = tmp_path_factory.mktemp("written")
    with no_progress_bars():
        build_oracle(graph).save_pretrained(folder)
    return graph, folder


def rewritten(folder: Path, to: Path, rename) -> Path:
    tensors = {rename(name): tensor for name, tensor in load_file(folder / SINGLE).items()}
    save_file(tensors, to / SINGLE)
    return to


def imported(graph, folder):
    model = build(graph)
    import_weights(model, folder)
    return composed_tensors(model)


def test_the_longest_beginning_counts_and_only_whole_words():
    names = {"model": "a", "model.tower": "b"}
    graph = Graph("small", hf=HfSection("Small", stored=Stored(names=names)))
    assert stored_name(graph, "model.tower.x") == "b.x"
    assert stored_name(graph, "model.towers.x") == "a.towers.x"
    assert stored_name(graph, "models") == "models"


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.replace("vision_tower.", "vision_tower.vision_model."),
        lambda name: (
            name.replace("language_model.lm_head", "lm_head").replace("language_model.model", "model.language_model")
            if name.startswith("language_model")
            else f"model.{name}"
        ),
    ],
    ids=["as transformers 4 wrote them", "as in memory"],
)
def test_names_that_transformers_would_rename_are_read(written, tmp_path, rename):
    graph, folder = written
    expected = imported(graph, folder)
    found = imported(graph, rewritten(folder, tmp_path, rename))
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_name_that_transformers_does_not_know_is_still_surplus(written, tmp_path):
    graph, folder = written
    tensors = load_file(folder / SINGLE) | {"vision_tower.something.weight": torch.zeros(2)}
    save_file(tensors, tmp_path / SINGLE)
    with pytest.raises(CheckpointError, match=r"surplus: vision_tower.something.weight \[2\]"):
        import_weights(build(graph), tmp_path)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("vision_tower.pre_layrnorm.weight", "vision_tower.vision_model.pre_layrnorm.weight"),
        ("multi_modal_projector.linear_1.weight", "model.multi_modal_projector.linear_1.weight"),
    ],
)
def test_one_tensor_under_an_old_and_a_new_name_is_not_taken_twice(written, tmp_path, name, other):
    """Whichever comes first in the file."""
    graph, folder = written
    tensors = load_file(folder / SINGLE)
    save_file(tensors | {other: tensors[name].clone()}, tmp_path / SINGLE)
    with pytest.raises(CheckpointError, match=f"surplus: {re.escape(other)}"):
        import_weights(build(graph), tmp_path)


def test_every_expert_has_its_own_tensors_numbered_over_all_ranks():
    graph = tiny_of("internvl", "internvl_qwen3_moe")
    second = RankShare(experts=Part(1, 2), expert_tensors=Part(0, 2))
    entries = [entry for entry in stored_map(graph, (), second) if entry.of_experts]
    experts = "language_model.model.layers.0.mlp.experts"
    assert entries[0].names[:3] == (
        f"{experts}.4.gate_proj.weight",
        f"{experts}.4.up_proj.weight",
        f"{experts}.5.gate_proj.weight",
    )
    assert entries[1].names == tuple(f"{experts}.{number}.down_proj.weight" for number in range(4, 8))
    assert second.window(entries[0].split).whole((20, 56)) == (40, 56)
    assert second.window(entries[1].split).whole((56, 20)) == (56, 40)
