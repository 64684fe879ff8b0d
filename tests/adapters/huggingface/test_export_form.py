"""What keeps a composition from being exported is said before anything is built."""

import subprocess
import sys
from pathlib import Path

import pytest

import adapters.megatron
from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.huggingface.export_form import export_findings, export_problems
from adapters.huggingface.export_weights import export_weights
from adapters.parity.tiny import shrink
from composer import load
from composer.load import maybe_config_file
from tests.composer.specs import SHIPPED
from tests.several_towers import two_vision_towers

SPEC = next(path for path in SHIPPED if path.stem == "compose_your_own")
PROJECTOR, TOWER = "nodes.projector", "nodes.vision_tower"
WRONG = {
    "three linear layers": (("nodes.projector.depth=3",), f"{PROJECTOR}.depth: 3 linear layers; the class has 2."),
    "a norm": (("nodes.projector.norm=rms",), f"{PROJECTOR}.norm: the class has none."),
    "another activation": (
        ("nodes.projector.activation=silu",),
        f"{PROJECTOR}.activation: silu; the configuration says projector_hidden_act: gelu.",
    ),
    "no bias": (
        ("nodes.projector.bias=false",),
        f"{PROJECTOR}.bias: false; the configuration says multimodal_projector_bias: true.",
    ),
    "the last state": (
        ("nodes.vision_tower.hidden_states=null",),
        f"{TOWER}: takes output last_hidden_state; the class takes hidden states -1 (vision_feature_layer).",
    ),
    "rows left out": (
        ("edges[2].pack=[{drop_first: 1}]",),
        "edges[2]: the class takes rows as they are and does nothing else (vision_feature_select_strategy).",
    ),
    "added to": (("edges[3].mode=add",), "edges[3]: the class replaces embeddings one after the other."),
    "sees everything": (
        ("edges[5].rules.full_attention=bidirectional",),
        "edges[5].rules.full_attention: the class masks causally.",
    ),
    "from one": (("edges[4].offset=1",), "edges[4].offset: the class counts from 0."),
    "another name": (
        ("nodes.projector.weights=model.bridge", "hf.stored={experts: each}"),
        f"{PROJECTOR}.weights: the class calls it model.multi_modal_projector.",
    ),
    "no name": (
        ("nodes.projector.weights=null", "hf.stored={experts: each}"),
        f"{PROJECTOR}: has no `weights`: its tensors have no names in a checkpoint.",
    ),
    "no class": (("hf.architecture=null",), "hf: no architecture is named: an export is some class of transformers."),
}


@pytest.mark.parametrize(("overrides", "text"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_said(overrides, text):
    found = export_findings(load(SPEC, overrides=overrides))
    assert [f"{finding.path}: {finding.text()}" for finding in found] == [text]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_specs_can_be_exported(path):
    assert export_problems(load(path)) == []


def test_swapped_parts_can_be_exported():
    for tower in ("configs/llava_1.5_7b.json", "configs/defaults/dinov2.json"):
        place = str(maybe_config_file(SPEC, tower))
        assert export_problems(load(SPEC, parts={"vision_config": place})) == []


def test_two_towers_are_no_class_of_transformers():
    assert [finding.path for finding in export_findings(two_vision_towers())] == ["hf"]


def test_the_place_is_named():
    (problem,) = export_problems(load(SPEC, overrides=["nodes.vision_tower.hidden_states=null"]))
    line = SPEC.read_text().splitlines().index("  vision_tower:") + 1
    assert problem.startswith(f"{SPEC}:{line}:3: nodes.vision_tower: takes")


def test_an_export_is_refused_with_the_same_words(tmp_path):
    graph = load(SPEC, hf=shrink(load(SPEC).hf_config), overrides=["nodes.projector.depth=3"])
    with pytest.raises(CheckpointError, match=r"nodes.projector.depth: 3 linear layers; the class has 2"):
        export_weights(adapters.megatron.build(graph), tmp_path)


def test_validate_says_it_without_torch(tmp_path):
    code = (
        "import sys; from adapters.cli.app import main\n"
        "try: main(sys.argv[1:])\nfinally: assert 'torch' not in sys.modules"
    )
    words = ["validate", str(SPEC), "--set", "nodes.projector.norm=layer"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=Path.cwd(), check=False
    )
    assert done.returncode == 0, done.stderr
    assert "cannot be exported as LlavaForConditionalGeneration, only trained and saved:" in done.stdout
    assert "nodes.projector.norm: the class has none." in done.stdout
