"""`vlm-composer compose`: the report, the checkpoint, and the way on to an export."""

import json

import pytest
import transformers

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
