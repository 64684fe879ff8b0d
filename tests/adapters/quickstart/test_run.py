"""The whole job, cut short: every step runs and says what it found."""

import io
import json
from pathlib import Path

import attrs
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file, save_file

from adapters.quickstart.answers import read_pictures
from adapters.quickstart.data import DataSizes
from adapters.quickstart.model import training_settings
from adapters.quickstart.reload import compare
from adapters.quickstart.run import Summary, run
from adapters.training.samples import JsonlSamples
from adapters.training.settings import Stage

SPEC = Path(__file__).parents[3] / "specs" / "gemma4_vl.yaml"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary, str]:
    folder = tmp_path_factory.mktemp("quickstart")
    screen = io.StringIO()
    everything = ("vision_tower", "embed_vision", "language_model")
    settings = attrs.evolve(
        training_settings(seed=0),
        stages=(Stage("align", 2, ("embed_vision",)), Stage("read", 4, everything)),
    )
    console = Console(file=screen, width=160)
    summary = run(SPEC, folder, sizes=DataSizes(64, 6), settings=settings, console=console)
    return folder, summary, screen.getvalue()


def test_everything_is_shown(job: tuple[Path, Summary, str]) -> None:
    _, _, shown = job
    for words in (
        "vision_tower",
        "logits:",
        "align",
        "tokens/s",
        "guessing",
        "1.11%",
        "generate()",
        "vlm-composer train",
    ):
        assert words in shown, words


def test_everything_is_written(job: tuple[Path, Summary, str]) -> None:
    folder, summary, _ = job
    for name in ("loss.png", "sheet.png"):
        with Image.open(folder / name) as image:
            assert image.width > 1000
    for name in (
        "log.jsonl",
        "spec.yaml",
        "training.yaml",
        "hf/model.safetensors",
        "hf/tokenizer.json",
        "data/train.jsonl",
    ):
        assert (folder / name).is_file(), name
    numbers = json.loads((folder / "summary.json").read_text())
    assert [score["digits"] for score in numbers["scores"]] == [2, 3, 4]
    assert numbers["steps"] == 6
    assert summary.exit_code == 0


def test_six_steps_do_not_read(job: tuple[Path, Summary, str]) -> None:
    """Answers come from the model: one that has hardly trained is wrong."""
    assert all(score.accuracy < 0.5 for score in job[1].scores)


def test_train_repeats_the_training_from_what_was_written(job: tuple[Path, Summary, str], tmp_path: Path) -> None:
    from adapters.training import run as train
    from adapters.training.log import read_log
    from adapters.training.settings_file import load_settings
    from composer import load

    folder = job[0]
    settings = load_settings(folder / "training.yaml")
    result = train(load(folder / "spec.yaml"), settings, folder / "data", tmp_path, console=Console(file=io.StringIO()))
    assert [r.loss for r in result.records] == [r.loss for r in read_log(folder / "log.jsonl")]
    ours, theirs = load_file(tmp_path / "hf" / "model.safetensors"), load_file(folder / "hf" / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())

    # A checkpoint that was changed after the export is noticed.
    samples = list(JsonlSamples(folder / "data" / "heldout.jsonl"))
    said = [answer.said for answer in read_pictures(result.model, result.collator, samples)]
    assert compare(result.model, tmp_path / "hf", result.collator, samples, said).holds
    assert not compare(result.model, tmp_path / "hf", result.collator, samples, [*said[1:], "?"]).holds
    _spoil(tmp_path / "hf" / "model.safetensors")
    assert compare(result.model, tmp_path / "hf", result.collator, samples, said).logits_error > 1e-3


def _spoil(path: Path) -> None:
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("embedding_projection.weight"))
    tensors[name] = tensors[name] * 1.1
    save_file(tensors, path, metadata={"format": "pt"})
