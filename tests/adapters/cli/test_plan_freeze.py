"""plan freeze: tables, files, and what it says of a plan that does not fit."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from adapters.plans.inventory import inventory
from composer import load
from composer.plans.freeze_file import parse_freeze_plan, read_freeze_plan
from composer.plans.name_patterns import expand
from tests.adapters.cli.test_startup import HEAVY, ROOT, top_level_imports

Run = Callable[..., object]
SPEC = ROOT / "specs" / "gemma4_vl.yaml"


def test_a_table_for_each_stage_of_the_spec(run: Run) -> None:
    outcome = run("plan", "freeze", str(SPEC))
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert [line.strip() for line in lines if "trains " in line and ":" in line] == [
        "align: trains projector",
        "sft: trains all - tower",
    ]
    rows = [line.split() for line in lines if line.strip().startswith("vision_tower")]
    assert rows[0] == ["vision_tower", "569.55M", "-", "-", "-", "9.8", "-", "no", "autograd"]
    decoders = [line.split() for line in lines if line.strip().startswith("language_model")]
    assert decoders[0][1:5] == ["25.23B", "-", "-", "-"]
    assert decoders[1][1:3] == ["25.23B", "25.23B"]
    assert decoders[1][-1] == "trains"


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_the_file_holds_exact_names_and_figures(run: Run, tmp_path: Path, form: str) -> None:
    file = tmp_path / f"plan.{form}"
    assert run("plan", "freeze", str(SPEC), "-o", str(file)).status == 0
    printed = run("plan", "freeze", str(SPEC), "--format", form).out
    text = file.read_text(encoding="utf-8")
    assert printed == text
    data = json.loads(text) if form == "json" else yaml.safe_load(text)
    graph = load(SPEC)
    known = inventory(graph)
    names = expand(name for group in data["stages"][1]["groups"] for name in group["parameters"])
    assert names == {parameter.name for parameter in known.parameters if parameter.node != "vision_tower"}
    sizes = {node["node"]: node["parameters"] for node in data["stages"][0]["nodes"]}
    assert sum(sizes.values()) == known.total
    assert read_freeze_plan(file, graph, known) == parse_freeze_plan(text, str(file))


def test_stages_of_a_file_and_one_of_them(run: Run, tmp_path: Path) -> None:
    stages = tmp_path / "stages.yaml"
    stages.write_text("stages:\n  a: {trains: [projector]}\n  b: {trains: ['layers(-2..)']}\n", encoding="utf-8")
    outcome = run("plan", "freeze", str(SPEC), "--stages", str(stages), "--stage", "b", "--format", "json")
    [stage] = json.loads(outcome.out)["stages"]
    assert stage["name"] == "b"
    decoder = stage["nodes"][2]
    assert (decoder["node"], decoder["frozen_layers"], decoder["autograd"]) == ("language_model", 28, True)
    unknown = run("plan", "freeze", str(SPEC), "--stages", str(stages), "--stage", "c")
    assert (unknown.status, unknown.err) == (2, "--stage c: no stage is called so. Known: a, b.\n")


def test_mistakes_are_told_with_their_place_and_status_2(run: Run, tmp_path: Path) -> None:
    stages = tmp_path / "stages.yaml"
    stages.write_text("stages:\n  a: {trains: [head, layers(30)]}\n", encoding="utf-8")
    outcome = run("plan", "freeze", str(SPEC), "--stages", str(stages))
    assert outcome.status == 2
    assert outcome.err.splitlines()[0].startswith(
        f"{stages}:2:16: stages.a.trains[0]: head selects nothing: the output"
    )
    assert f"{stages}:2:22: stages.a.trains[1]: layers(30) reaches outside" in outcome.err
    gone = run("plan", "freeze", str(SPEC), "--stages", str(tmp_path / "gone.yaml"))
    assert (gone.status, gone.err) == (2, f"{tmp_path / 'gone.yaml'}: no such file or directory.\n")


def test_a_mistake_in_the_spec_has_its_line_there(run: Run) -> None:
    outcome = run("plan", "freeze", str(SPEC), "--set", 'stages.align={trains: ["*.q_nrm.*"]}')
    assert outcome.status == 2
    assert 'stages.align.trains[0]: glob("*.q_nrm.*") selects nothing: no parameter fits. Did you mean' in outcome.err


def test_a_spec_without_stages_says_what_to_write(run: Run, tmp_path: Path) -> None:
    text = SPEC.read_text(encoding="utf-8")
    spec = tmp_path / "spec.yaml"
    spec.write_text("\n".join(line for line in text.splitlines() if not line.startswith("stages:")), encoding="utf-8")
    outcome = run("plan", "freeze", str(spec))
    assert outcome.status == 2
    assert outcome.err == (
        "gemma4_vl names no stages: add `stages: {align: {trains: [projector]}}` to the spec, or give a file with it "
        "(--stages FILE).\n"
    )


def test_a_cached_answer_imports_nothing_heavy() -> None:
    inventory(load(SPEC))  # makes it if need be
    words = ["plan", "freeze", str(SPEC)]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "adapters.cli", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    imported = top_level_imports(done.stderr)
    assert {"cyclopts", "composer", "rich"} <= imported
    assert not imported & HEAVY
