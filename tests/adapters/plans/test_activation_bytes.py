"""Bytes that small real models keep for the backward pass, against the plan: 33 settings, each within 5 %.

The counter (`activation_counter.py`) shares nothing with the plan. A rank's count is compared with that of the fullest
rank of its stage; where experts are dealt out, routing is random, and sums over ranks are compared.
"""

import json
from pathlib import Path

import pytest

from components.language.costs import core_attention
from tests.adapters.plans.activation_cases import ALL, ALONE, DECODER, PEAKS, TOGETHER, Case
from tests.adapters.plans.planned_bytes import planned, planned_peak
from tests.torchrun import torchrun

BOUND = 0.05
PEAK_BOUND = 0.1

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, int]]]:
    """Of every case, rank by rank."""
    found: dict[str, list[dict[str, int]]] = {}
    for ranks in (1, 2):
        file = tmp_path_factory.mktemp("counts") / "count"
        torchrun(ranks, "-m", "tests.adapters.plans.activation_worker", file)
        for rank in range(ranks):
            for name, count in json.loads(Path(f"{file}.{rank}").read_text(encoding="utf-8")).items():
                found.setdefault(name, []).append(count)
    return found


@pytest.mark.parametrize("case", [*ALONE, *TOGETHER], ids=lambda case: case.name)
def test_plan_is_near_the_count(case: Case, counts: dict[str, list[dict[str, int]]], monkeypatch: pytest.MonkeyPatch):
    if case.by_blocks:
        monkeypatch.setattr(core_attention, "TABLE_PAIRS", 0)
    stages = planned(case)
    for place, stage in enumerate(stages):
        ranks = [count["alive"] for count in counts[case.name] if count["pipeline"] == place]
        dealt_out = case.layout.ep > 1 or case.layout.etp > 1
        counted = sum(ranks) / len(ranks) if dealt_out else max(ranks)
        assert counted > 0
        assert stage["all"] == pytest.approx(counted, rel=BOUND), (place, stage, counts[case.name])


def _known_exactly(case: Case) -> bool:
    """Nothing is computed again, no expert is elsewhere, and what projectors read carries gradient if they train."""
    layout = case.layout
    plain = layout.recompute == "none" and layout.ep == layout.etp == layout.cp == 1
    return plain and case.trains in (ALL, DECODER) and not (case.layout.pp > 1 and case.precision == "bf16")


@pytest.mark.parametrize(
    "case", [case for case in (*ALONE, *TOGETHER) if _known_exactly(case)], ids=lambda case: case.name
)
def test_plan_is_what_autograd_saves(
    case: Case, counts: dict[str, list[dict[str, int]]], monkeypatch: pytest.MonkeyPatch
):
    """To the byte."""
    if case.by_blocks:
        monkeypatch.setattr(core_attention, "TABLE_PAIRS", 0)
    for place, stage in enumerate(planned(case)):
        assert stage["all"] == max(count["saved"] for count in counts[case.name] if count["pipeline"] == place)


def test_gathered_keys_are_what_autograd_saves(counts: dict[str, list[dict[str, int]]]):
    """The halves of a sequence hold different numbers of features."""
    [case] = [case for case in TOGETHER if case.name == "cp2 dense"]
    ranks = [count["saved"] for count in counts[case.name]]
    assert planned(case)[0]["all"] == pytest.approx(sum(ranks) / len(ranks), rel=1e-4)


@pytest.mark.parametrize("case", [*ALONE, *TOGETHER], ids=lambda case: case.name)
def test_what_autograd_saves_is_there(case: Case, counts: dict[str, list[dict[str, int]]]):
    """The usual way of counting never finds more than the other, and less only where checkpoints and caches hold on."""
    for count in counts[case.name]:
        assert 0 < count["saved"] <= count["alive"]


@pytest.mark.parametrize("case", PEAKS, ids=lambda case: case.name)
def test_planned_peak_is_near_the_count(case: Case, counts: dict[str, list[dict[str, int]]]):
    """The bound that peaks have on a card."""
    assert planned_peak(case) == pytest.approx(counts[case.name][0]["peak"], rel=PEAK_BOUND)


def test_settings_differ():
    seen = [(c.layout, c.model, c.precision, c.seq, c.micro_batch, c.images, c.trains) for c in (*ALONE, *TOGETHER)]
    assert len(seen) >= 20
    for number, one in enumerate(seen):
        for other in seen[:number]:
            assert one != other
