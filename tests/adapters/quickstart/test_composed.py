"""A model of two checkpoints through the whole job: cut short, and (slow) until it reads."""

import io
import json
import time
from pathlib import Path

import attrs
import pytest
import torch
import transformers
from rich.console import Console
from safetensors.torch import load_file

from adapters.quickstart.composed_model import RECIPE, VOCAB_SIZE
from adapters.quickstart.data import DataSizes
from adapters.quickstart.run import Summary, run
from adapters.training.settings import Stage
from composer import load
from tests.composer.specs import SHIPPED

SPEC = next(path for path in SHIPPED if path.stem == "compose_your_own")
SECONDS = 600


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary, str]:
    folder = tmp_path_factory.mktemp("composed")
    screen = io.StringIO()
    settings = attrs.evolve(
        RECIPE.settings(0), stages=(Stage("align", 2, ("projector",)), Stage("all", 3, ("all",))), micro_batch=16
    )
    settings = attrs.evolve(settings, global_batch=16)
    console = Console(file=screen, width=160)
    return (
        folder,
        run(SPEC, folder, recipe=RECIPE, sizes=DataSizes(48, 4), settings=settings, console=console),
        screen.getvalue(),
    )


def test_the_model_is_transformers_before_and_after(job):
    _, summary, _ = job
    assert summary.parity.green, list(summary.parity.failures())
    assert summary.agreement.logits_error < 1e-6
    assert summary.agreement.same == summary.agreement.total == 4
    assert summary.exit_code == 0


def test_what_became_of_the_checkpoints_is_shown(job):
    folder, _, shown = job
    held = [len(load_file(folder / part / "model.safetensors")) for part in ("tower", "text")]
    unused = sum(not name.startswith("vision_model.") for name in load_file(folder / "tower/model.safetensors"))
    table = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if line.startswith("│")]
    (tower,) = (row for row in table if row[1:2] == [f"{folder}/tower"])
    assert tower[2:] == [str(held[0] - unused), "0", str(unused)]
    (text,) = (row for row in table if row[1:2] == [f"{folder}/text"])
    assert text[2] == str(held[1])
    assert text[3].startswith(f"rows {VOCAB_SIZE} to {VOCAB_SIZE + 63} of embedding.word_embeddings.weight")
    assert "text_model.encoder (16)" in shown


def test_only_the_projector_trains_in_the_first_stage(job):
    folder, _, shown = job
    table = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if line.startswith("│")]
    states = {row[0]: row[3:] for row in table if row[1:2] and row[1] in ("tower", "projector", "decoder")}
    assert states["vision_tower"] == states["language_model"] == ["frozen", "trains"]
    assert states["projector"] == ["trains", "trains"]
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [record["stage"] for record in log] == ["align"] * 2 + ["all"] * 3


def test_the_export_is_a_checkpoint_with_its_tokenizer(job):
    folder, _, _ = job
    config = json.loads((folder / "hf/config.json").read_text())
    assert config["architectures"] == ["LlavaForConditionalGeneration"]
    assert config["image_token_index"] == VOCAB_SIZE
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder / "hf")
    assert isinstance(model, transformers.LlavaForConditionalGeneration)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "hf/tokenizer.json"))
    assert tokenizer.convert_tokens_to_ids("<image>") == VOCAB_SIZE


def test_the_written_spec_is_the_same_model_again(job):
    folder, _, _ = job
    graph = load(folder / "spec.yaml")
    assert graph.hf.compose.parts == {"vision_config": str(folder / "tower"), "text_config": str(folder / "text")}
    assert graph.decoder().config.config.vocab_size == VOCAB_SIZE + 64


@pytest.mark.slow
def test_it_learns_to_read_within_ten_minutes(tmp_path):
    """At least four of five held-out numbers of two digits, from random checkpoints.

    Time of CPU, not on the clock: machines that run tests run several.
    """
    torch.manual_seed(0)
    began = time.process_time()
    summary = run(SPEC, tmp_path, recipe=RECIPE, console=Console(file=io.StringIO()))
    (score,) = summary.scores
    assert (score.digits, score.total) == (2, 200)
    assert score.accuracy >= 0.8
    assert summary.agreement.holds
    assert time.process_time() - began < SECONDS
