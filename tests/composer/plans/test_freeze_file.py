"""A freeze plan as a file: read back as it was, refused for another model, and its mistakes told with their lines."""

from pathlib import Path

import pytest
from attrs import evolve

from composer import Graph, SpecError, load
from composer.plans.content import content_hash
from composer.plans.freeze import resolve
from composer.plans.freeze_file import (
    FreezePlan,
    FreezePlanError,
    NodeCosts,
    parse_freeze_plan,
    plan_text,
    planned,
    read_freeze_plan,
)
from composer.plans.plan_file import Source
from composer.stages import FreezeStage
from tests.composer.plans.small_model import SCOPE, small_model
from tests.composer.specs import GEMMA4

STAGES = {
    "align": FreezeStage(("projector",)),
    "sft": FreezeStage(("all - tower",), ("router",), {"norms": 0.5}, {"experts": 0.0}),
}
COSTS = NodeCosts("eye", "tower", 60, 0, 0, 0, False, 0, 120.0, 0.0)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return load(GEMMA4)


@pytest.fixture
def plan(graph: Graph) -> FreezePlan:
    stages, problems = resolve(STAGES, small_model(), SCOPE)
    assert problems == []
    source = Source("gemma4_vl", content_hash(graph), "dir with space", ("hf.text_config.x=1",))
    return FreezePlan(1, source, "bf16", tuple(planned(stage, [COSTS]) for stage in stages))


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_a_plan_is_read_back_as_it_was(plan: FreezePlan, form: str) -> None:
    assert parse_freeze_plan(plan_text(plan, form), "plan") == plan  # type: ignore[arg-type]


def test_names_in_the_file_are_exactly_those_of_the_stage(plan: FreezePlan) -> None:
    stages, _ = resolve(STAGES, small_model(), SCOPE)
    for written, stage in zip(plan.stages, stages, strict=True):
        factors = {name: (group.lr, group.weight_decay) for group in stage.groups for name in group.parameters}
        assert {name: (g.lr, g.weight_decay) for name, g in written.multipliers().items()} == factors


def test_a_plan_of_another_version_of_the_spec_is_refused(plan: FreezePlan, graph: Graph, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(plan_text(plan), encoding="utf-8")
    assert read_freeze_plan(file, graph) == plan
    changed = evolve(graph, tokens=graph.tokens | {"image": 3})
    with pytest.raises(FreezePlanError) as caught:
        read_freeze_plan(file, changed)
    assert str(caught.value) == (
        f"{file}: was made for gemma4_vl as it was then (content {content_hash(graph)}); this is gemma4_vl with "
        f"content {content_hash(changed)}. Make a new one: vlm-composer plan freeze gemma4_vl "
        f"--hf 'dir with space' --set hf.text_config.x=1 -o {file}"
    )


def test_description_and_stages_make_no_other_model(graph: Graph) -> None:
    same = evolve(graph, description="other", stages={"x": FreezeStage(("all",))})
    assert content_hash(same) == content_hash(graph)
    assert content_hash(evolve(graph, name="other")) != content_hash(graph)


def test_names_that_no_longer_exist_are_refused_with_their_line(plan: FreezePlan, graph: Graph, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(plan_text(plan), encoding="utf-8")
    model = small_model()
    assert read_freeze_plan(file, graph, model) == plan
    fewer = evolve(model, parameters=tuple(p for p in model.parameters if p.layer != 3))
    with pytest.raises(SpecError) as caught:
        read_freeze_plan(file, graph, fewer)
    told = str(caught.value).splitlines()
    assert (
        len(caught.value.problems) == 5
    )  # norm, attention and its norm, two halves of the experts; the router is frozen
    assert all(line.startswith((f"{file}:", "    ")) for line in told)
    assert "small has no parameter decoder.layers.3.self_attention.linear_qkv.weight. Did you mean" in "\n".join(told)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("freeze_plan: 1", "freeze_plan: 2"), "p:1:14: freeze_plan: is of form 2, and 1 is read here"),
        (("freeze_plan: 1", "plan: 1"), "p:1:1: no freeze plan: `vlm-composer plan freeze SPEC -o FILE` writes one."),
        (("name: sft", "name: align"), ": a second stage align."),
        (("{0..3}.input", "{0..}.input"), "'0..' is no number and no range."),
        (("lr: 0.5", "lr: half"), ".lr: a number is expected, not the text 'half'."),
        (("bridge.norm.weight", "bridge.fc.weight"), "bridge.fc.weight is in this stage already."),
    ],
)
def test_mistakes_in_the_file_are_told_with_their_line(
    plan: FreezePlan, change: tuple[str, str], expected: str
) -> None:
    text = plan_text(plan)
    assert change[0] in text
    with pytest.raises(SpecError) as caught:
        parse_freeze_plan(text.replace(*change), "p")
    assert expected in str(caught.value)
    assert str(caught.value).startswith("p:")


def test_a_plan_without_stages_is_none(plan: FreezePlan) -> None:
    with pytest.raises(SpecError, match=r"p:\d+:\d+: stages: no stage is in it\."):
        parse_freeze_plan(plan_text(evolve(plan, stages=())), "p")


def test_a_file_that_is_not_there_is_told(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(FreezePlanError, match=r"gone\.yaml: cannot be read"):
        read_freeze_plan(tmp_path / "gone.yaml", graph)
