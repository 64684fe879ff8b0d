"""`vlm-composer compose`: the report, the checkpoint, and the way on to an export."""

import json

import pytest
import torch
import transformers
from attrs import evolve
from safetensors.torch import load_file

from adapters.cli.arguments import spec_file
from adapters.huggingface.configured import load_configured
from adapters.quickstart import composed_model
from adapters.quickstart.data import DataSizes, write_data
from adapters.saved_model import load_saved
from adapters.training import run as train
from adapters.training.problems import TrainingError
from adapters.training.settings import Stage
from adapters.training.settings_file import load_settings, settings_text
from tests.adapters.huggingface.source_checkpoints import VOCAB, write

SPEC = "compose_your_own"


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    return {name: write(folder, name) for name in ("siglip", "qwen3_moe")}


def hf(parts):
    return f"vision_config={parts['siglip']},text_config={parts['qwen3_moe']}"


def test_the_report_needs_no_target_and_is_what_is_done(run, parts, tmp_path):
    said = run("compose", SPEC, "--hf", hf(parts), "--json", str(tmp_path / "said.json"))
    done = run("compose", SPEC, str(tmp_path / "made"), "--hf", hf(parts), "--json", str(tmp_path / "done.json"))
    assert (said.status, done.status) == (0, 0), said.err + done.err
    assert (tmp_path / "said.json").read_text() == (tmp_path / "done.json").read_text()
    report = json.loads((tmp_path / "done.json").read_text())
    assert report["nodes"]["projector"] == {
        "checkpoint": None,
        "reused": [],
        "reinitialised": [f"projector.linear_{n}.{what}" for n in (1, 2) for what in ("weight", "bias")],
        "new_rows": [],
    }
    assert [each["first"] for each in report["nodes"]["language_model"]["new_rows"]] == [VOCAB, VOCAB]
    assert len(report["unused"][str(parts["siglip"])]) == 24
    assert report["unused"][str(parts["qwen3_moe"])] == []
    assert "text_model.encoder (16)" in said.out


def test_what_was_made_is_exported_and_loads(run, parts, tmp_path):
    assert run("compose", SPEC, str(tmp_path / "made"), "--hf", hf(parts), "--dtype", "float32").status == 0
    done = run("export", str(tmp_path / "made"), str(tmp_path / "hf"))
    assert done.status == 0, done.err
    model = transformers.LlavaForConditionalGeneration.from_pretrained(tmp_path / "hf")
    assert model.config.image_token_id == VOCAB


def test_a_node_may_be_given_another_checkpoint_or_none(run, parts, tmp_path):
    found = run(
        "compose",
        SPEC,
        "--hf",
        hf(parts),
        "--weights",
        f"vision_tower={parts['siglip']}",
        "--set",
        "nodes.language_model.checkpoint=null",
        "--json",
        str(tmp_path / "r.json"),
    )
    assert found.status == 0, found.err
    nodes = json.loads((tmp_path / "r.json").read_text())["nodes"]
    assert nodes["language_model"]["checkpoint"] is None
    assert nodes["language_model"]["reused"] == []
    assert len(nodes["vision_tower"]["reused"]) == 48


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--weights", "vision_towr=x"), "there is no node vision_towr. Did you mean 'vision_tower'?"),
        (("--weights", "vision_tower=nowhere"), "vision_tower: no directory nowhere"),
        (("--weights", "nowhere"), "--weights nowhere: name its node, as in vision_tower=nowhere"),
        (("--hf", "vision_config=nowhere"), "nowhere: no such directory or file"),
    ],
)
def test_mistakes_are_told(run, words, text):
    found = run("compose", SPEC, *words)
    assert found.status == 2
    assert text in found.err.replace("\n", " ")


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """Data and checkpoints of the quickstart, and settings of one step."""
    folder = tmp_path_factory.mktemp("quickstart")
    recipe = composed_model.RECIPE
    composed_model.write_sources(folder, 0)
    write_data(folder / "data", DataSizes(16, 1), recipe.vocab_size, 0, recipe.special, recipe.lengths)
    settings = evolve(recipe.settings(0), stages=(Stage("align", 1, ("projector",)),), micro_batch=4, global_batch=4)
    (folder / "training.yaml").write_text(settings_text(settings))
    return folder


def sources(folder):
    return f"vision_config={folder / 'tower'},text_config={folder / 'text'}"


def test_training_starts_from_the_parts(run, quickstart, tmp_path):
    words = ("train", SPEC, str(quickstart / "training.yaml"), str(quickstart / "data"), "--hf", sources(quickstart))
    found = run(*words, "-o", str(tmp_path))
    assert found.status == 0, found.err
    assert "text_model.encoder (16)" in found.out
    tower = load_file(quickstart / "tower/model.safetensors")["vision_model.embeddings.patch_embedding.weight"]
    trained = load_file(tmp_path / "hf/model.safetensors")
    assert torch.equal(trained["vision_tower.embeddings.patch_embedding.weight"], tower)
    table = load_file(quickstart / "text/model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(trained["language_model.model.embed_tokens.weight"][: len(table)], table)


def test_a_model_that_no_class_is_ends_in_a_folder_of_its_own(run, quickstart, tmp_path):
    words = ("train", SPEC, str(quickstart / "training.yaml"), str(quickstart / "data"), "--hf", sources(quickstart))
    found = run(*words, "--set", "nodes.projector.depth=3", "-o", str(tmp_path))
    assert found.status == 0, found.err
    assert "The trained model cannot be exported; it is saved in the run's folder `composed`" in found.out
    assert "nodes.projector.depth: 3 linear layers; the class has 2." in found.out
    assert not (tmp_path / "hf").exists()
    model, graph = load_saved(tmp_path / "composed")
    assert graph.nodes["projector"].config.depth == 3
    assert model.projector.linear_3.weight.shape == (96, 96)
    assert (tmp_path / "composed/tokenizer.json").is_file()


def test_several_processes_would_leave_nothing_of_it(run, quickstart, tmp_path, monkeypatch):
    graph = load_configured(spec_file(SPEC), sources(quickstart), ["nodes.projector.depth=3"])
    settings = evolve(load_settings(quickstart / "training.yaml"), global_batch=8)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        TrainingError, match=r"set checkpoints.every: several processes would leave nothing else behind"
    ):
        train(graph, settings, quickstart / "data", tmp_path)
