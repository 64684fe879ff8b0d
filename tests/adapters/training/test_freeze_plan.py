"""A run that is told by a freeze plan what trains, from the command line to the exported weights."""

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from safetensors.torch import load_file
from torch import equal, nn

from adapters.cli.app import main
from adapters.quickstart.model import overrides
from adapters.training.problems import TrainingError
from adapters.training.settings import Stage, Training
from adapters.training.settings_file import load_settings, settings_text
from adapters.training.setup import check_settings
from adapters.training.stages import check_trained, freeze_all_but, load_plan, node_sizes
from composer import Graph
from composer.plans.freeze_file import FreezePlan, FreezePlanError, read_freeze_plan
from tests.adapters.training.conftest import SPEC, two_stages

SIZES = [word for override in overrides() for word in ("--set", override)]
STAGES = """
stages:
  align: {trains: [projector]}
  all:
    trains: [all - tower]
    freezes: [layers(0), '"*.q_norm.*"']
    lr_multipliers: {embeddings: 0.0}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan made by the command, and settings beside it that name it."""
    folder = tmp_path_factory.mktemp("job")
    (folder / "stages.yaml").write_text(STAGES, encoding="utf-8")
    command(
        "plan", "freeze", str(SPEC), *SIZES, "--stages", str(folder / "stages.yaml"), "-o", str(folder / "plan.yaml")
    )
    (folder / "training.yaml").write_text(settings_text(unsaid(two_stages())), encoding="utf-8")
    return folder


def command(*words: str) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(words)
    assert leaving.value.code == 0


def unsaid(settings: Training) -> Training:
    """Settings whose stages leave it to the plan what trains."""
    stages = tuple(attrs.evolve(stage, trains=()) for stage in settings.stages)
    return attrs.evolve(settings, stages=stages, freeze_plan="plan.yaml")


@pytest.fixture
def plan(folder: Path, graph: Graph) -> FreezePlan:
    return read_freeze_plan(folder / "plan.yaml", graph)


def test_a_run_trains_what_the_plan_says_and_nothing_else(folder: Path, data_dir: Path, tmp_path: Path) -> None:
    """From the weights that one run exports to those of the next, by their names in the checkpoint.

    The first is told of the plan by its settings, the second by an option.
    """
    words = [str(data_dir), *SIZES, "-o"]
    command("train", str(SPEC), str(folder / "training.yaml"), *words, str(tmp_path / "first"))
    other = tmp_path / "training.yaml"
    other.write_text(settings_text(attrs.evolve(unsaid(two_stages()), freeze_plan=None)), encoding="utf-8")
    weights = ["--weights", str(tmp_path / "first" / "hf"), "--freeze-plan", str(folder / "plan.yaml")]
    command("train", str(SPEC), str(other), *words, str(tmp_path / "second"), *weights)
    before, after = (load_file(tmp_path / run / "hf" / "model.safetensors") for run in ("first", "second"))
    moved = {name for name, tensor in after.items() if not equal(tensor, before[name])}
    frozen = {
        name
        for name in after
        if "vision_tower" in name or ".layers.0." in name or "q_norm" in name or "embed_tokens" in name
    }
    frozen |= {name for name in after if name.endswith("layer_scalar")}  # a buffer
    assert moved == after.keys() - frozen
    assert {"vision_tower", "embed_vision", "language_model"} == {name.split(".")[1] for name in after}


def test_a_plans_path_is_relative_to_the_settings(folder: Path) -> None:
    assert load_settings(folder / "training.yaml").freeze_plan == str(folder / "plan.yaml")


def test_parameters_follow_the_plan(model: nn.Module, graph: Graph, plan: FreezePlan) -> None:
    for stage in two_stages().stages:
        planned = plan.stage(stage.name)
        rates = freeze_all_but(model, graph, attrs.evolve(stage, trains=()), planned)
        trains = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert trains == planned.multipliers().keys()
        table = model.get_parameter("language_model.embedding.word_embeddings.weight")
        assert {parameter: own.lr for parameter, own in rates.items()} == ({table: 0.0} if stage.name == "all" else {})


def test_without_a_plan_trains_takes_selectors(model: nn.Module, graph: Graph) -> None:
    stage = Stage("s", 1, ("projector", "layers(-1) - norms", '"*.final_layernorm.*"'))
    check_trained([model], graph, stage, None)
    assert freeze_all_but(model, graph, stage) == {}
    trains = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    layers = graph.decoder().config.config.num_layers
    assert trains == {
        name
        for name, _ in model.named_parameters()
        if name.startswith("embed_vision.")
        or "final_layernorm" in name
        or (f".layers.{layers - 1}." in name and name.startswith("language_model.") and "norm" not in name)
    }
    sizes = {size.node: size for size in node_sizes([model], graph, stage)}
    assert sizes["vision_tower"].trained == 0
    assert 0 < sizes["language_model"].trained < sizes["language_model"].parameters
    assert sizes["embed_vision"].trained == sizes["embed_vision"].parameters


def test_a_selector_that_selects_nothing_is_told_before_anything_trains(engine: object, settings: Training) -> None:
    stage = Stage("s", 1, ("projector", '"*.q_nrm.*"', "head & layers(0)"))
    with pytest.raises(TrainingError) as caught:
        engine.begin_stage(stage)  # type: ignore[attr-defined]
    assert caught.value.problems == (
        'stage s: "*.q_nrm.*" selects no parameter.',
        "stage s: head & layers(0) selects no parameter.",
    )


def with_plan(settings: Training, folder: Path) -> Training:
    return attrs.evolve(unsaid(settings), freeze_plan=str(folder / "plan.yaml"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda s: attrs.evolve(s, stages=(Stage("align", 1, ("projector",)),)),
            "stages[0].trains: the freeze plan says what trains in align: leave it out.",
        ),
        (
            lambda s: attrs.evolve(s, stages=(Stage("algn", 1),)),
            "stages[0].name: the freeze plan has no stage algn. Did you mean 'align'?",
        ),
        (
            lambda s: attrs.evolve(s, optimizer=attrs.evolve(s.optimizer, lr_multipliers={"embed_vision": 0.5})),
            "optimizer.lr_multipliers: the freeze plan has the multipliers: put these into its stages.",
        ),
        (
            lambda s: attrs.evolve(s, freeze_plan=None),
            "stages[0].trains: stage align trains nothing.",
        ),
        (
            lambda s: attrs.evolve(s, freeze_plan=None, stages=(Stage("a", 1, ("projctor | all", "layers(0:3)")),)),
            "stages[0].trains[0]: no node is called projctor. Did you mean 'projector'?",
        ),
    ],
)
def test_settings_that_contradict_the_plan(
    change: Callable[[Training], Training], expected: str, settings: Training, folder: Path, graph: Graph
) -> None:
    with pytest.raises(TrainingError) as caught:
        check_settings(change(with_plan(settings, folder)), graph)
    assert expected in caught.value.problems


def test_a_plan_of_another_model_is_refused(settings: Training, folder: Path, graph: Graph) -> None:
    assert load_plan(with_plan(settings, folder), graph) is not None
    other = attrs.evolve(graph, tokens=graph.tokens | {"image": 9})
    with pytest.raises(FreezePlanError, match=r"was made for .* as it was then .* vlm-composer plan freeze"):
        check_settings(with_plan(settings, folder), other)
