"""A freeze plan is consumed to the letter, by both engines and in layouts: what is frozen keeps every bit, what trains
moves by its own rates.
"""

from pathlib import Path

import pytest
import torch
from attrs import evolve

from adapters.cli.plan_freeze import make_plan
from adapters.parity.batch import make_batch
from adapters.parity.oracle import build_oracle, no_progress_bars
from adapters.plans.inventory import inventory
from adapters.prove.layouts.batches import global_batches
from adapters.training.problems import TrainingError
from composer.plans.freeze import resolved_stages
from composer.plans.freeze_file import plan_text, read_freeze_plan
from tests.distributed import freeze_worker
from tests.distributed.engine_cases import as_batch
from tests.distributed.freeze_cases import CASES, LR, STAGES, WEIGHT_DECAY
from tests.distributed.graphs import tiny
from tests.torchrun import torchrun


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A plan, weights, and micro-batches."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("freeze")
    graph = tiny("experts")
    oracle = build_oracle(graph)
    with no_progress_bars():
        oracle.save_pretrained(folder / "weights")
    torch.save(global_batches(make_batch(graph, oracle))["pictures"].micro_batches, folder / "rows.pt")
    (folder / "stages.yaml").write_text(stages_text(), encoding="utf-8")
    plan = make_plan(graph, ("tiny", None, []), folder / "stages.yaml", [], "fp32")
    (folder / freeze_worker.PLAN).write_text(plan_text(plan), encoding="utf-8")
    return folder


def stages_text() -> str:
    from attrs import asdict

    from composer.emit import emit

    plain = {"stages": {name: asdict(stage) for name, stage in STAGES.items()}}
    for stage in plain["stages"].values():
        stage |= {key: list(value) for key, value in stage.items() if isinstance(value, tuple)}
    return emit(plain)


@pytest.fixture(scope="module")
def alone(folder):
    return {case.name: [freeze_worker.run(case, folder)] for case in CASES if case.ranks == 1}


@pytest.fixture(scope="module")
def two(folder):
    pytest.importorskip("deepspeed")
    torchrun(2, "-m", "tests.distributed.freeze_worker", folder)
    return {
        case.name: [torch.load(folder / f"{case.name}.{rank}.pt", weights_only=True) for rank in (0, 1)]
        for case in CASES
        if case.ranks == 2
    }


@pytest.fixture
def ranks(request):
    """What every rank of a case held: before, and after each stage."""
    case = request.node.callspec.params["case"]
    return request.getfixturevalue("two" if case.ranks == 2 else "alone")[case.name]


def multipliers(stage: str) -> dict[str, tuple[float, float]]:
    """Of what trains, from the inventory and not from the file."""
    graph = tiny("experts")
    [resolved] = resolved_stages({stage: STAGES[stage]}, inventory(graph), graph, None)
    return {name: (group.lr, group.weight_decay) for group in resolved.groups for name in group.parameters}


every_case = pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[pytest.mark.slow] if case.ranks == 2 else []) for case in CASES],
    ids=lambda case: case.name,
)


@every_case
def test_the_ranks_together_hold_the_model(case, ranks):
    held = {each for found in ranks for each in found[0]}
    assert held == {parameter.name for parameter in inventory(tiny("experts")).parameters}


@every_case
def test_frozen_parameters_keep_every_bit_and_the_others_move(case, ranks):
    for number, stage in enumerate(STAGES, 1):
        trains = multipliers(stage)
        for found in ranks:
            before, after = found[number - 1], found[number]
            moved = {each for each, value in after.items() if not torch.equal(value, before[each])}
            # An expert that no token chose gets no gradient; it may rest, but for its decay.
            assert moved <= trains.keys()
            assert {each for each in trains.keys() & after.keys() if "local_experts" not in each} <= moved


@every_case
@pytest.mark.parametrize("stage", STAGES)
def test_the_first_step_is_as_large_as_the_multipliers_say(case, stage, ranks):
    """AdamW's first step moves an element by the learning rate in the direction of its gradient, after the decay."""
    trains, number, seen = multipliers(stage), list(STAGES).index(stage) + 1, set()
    for found in ranks:
        for each in trains.keys() & found[number].keys():
            before, after = found[number - 1][each], found[number][each]
            lr, decay = trains[each]
            kept = 1 - LR * lr * WEIGHT_DECAY * decay * (before.ndim > 1)
            step = (after.double() - before.double() * kept).abs()
            if not step.any():
                assert "local_experts" in each
                continue
            assert step.max().item() == pytest.approx(LR * lr, rel=1e-3), each
            seen.add((lr, decay))
    assert seen == set(trains.values())


def test_a_name_that_no_rank_has_is_told(folder):
    text = (folder / freeze_worker.PLAN).read_text(encoding="utf-8")
    (folder / "other").mkdir()
    changed = text.replace("embed_vision.embedding_projection.weight", "embed_vision.projection.weight")
    (folder / "other" / freeze_worker.PLAN).write_text(changed, encoding="utf-8")
    graph = tiny("experts")
    settings = CASES[0].settings
    plan = read_freeze_plan(folder / "other" / freeze_worker.PLAN, graph)
    engine = freeze_worker.make_engine(freeze_worker.build_stages(graph, settings), settings, plan)
    with pytest.raises(TrainingError) as caught:
        engine.begin_stage(settings.stages[0])
    assert str(caught.value) == (
        "the freeze plan's stage align trains embed_vision.projection.weight, but the model has no such parameter: "
        "make a new plan with `vlm-composer plan freeze`."
    )


@pytest.mark.parametrize("shared", [False, True], ids=["plain", "distributed optimizer"])
def test_a_run_resumes_in_the_middle_of_a_planned_stage(folder, tmp_path, shared):
    """Optimizer states are of some parameters of a node, in groups with several rates."""
    graph = tiny("experts")
    settings = evolve(CASES[0].settings, distributed_optimizer=shared)
    plan = read_freeze_plan(folder / freeze_worker.PLAN, graph)
    rows = [as_batch(each) for each in torch.load(folder / "rows.pt", weights_only=True)]
    [stage] = [stage for stage in settings.stages if stage.name == "part"]

    def begun():
        engine = freeze_worker.make_engine(
            freeze_worker.build_stages(graph, settings, folder / "weights"), settings, plan
        )
        engine.begin_stage(stage)
        return engine

    first = begun()
    first.step(rows, LR)
    first.save(tmp_path / "saved", {"stage": "part", "step": 1})
    first.finish_save()
    second = begun()
    assert second.load(tmp_path / "saved") == {"stage": "part", "step": 1}
    assert first.step(rows, LR) == second.step(rows, LR)
    expected = freeze_worker.parameters(first)
    for name, parameter in freeze_worker.parameters(second).items():
        assert torch.equal(parameter, expected[name]), name
