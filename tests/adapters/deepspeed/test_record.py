"""What a checkpoint of DeepSpeed says about itself, and what a run that cannot read it is told."""

import json

import attrs
import pytest

from adapters.deepspeed import record
from adapters.deepspeed.record import Record
from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.saved_model import load_saved
from tests.distributed.graphs import tiny

RUN = Record(zero_stage=2, ranks=4, precision="bf16")
READS = "DeepSpeed reads a checkpoint with the same ZeRO stage and precision, on as many ranks"


@pytest.fixture(scope="module")
def graph():
    return tiny("dense")


@pytest.fixture
def folder(graph, tmp_path):
    record.write(tmp_path, graph, RUN)
    return tmp_path


def problems(folder, graph, run):
    with pytest.raises(CheckpointError) as caught:
        record.check(folder, graph, run)
    return list(caught.value.problems)


def test_the_same_run_may_go_on(folder, graph):
    record.check(folder, graph, RUN)
    assert json.loads((folder / "deepspeed.json").read_text()) == {
        "zero_stage": 2,
        "ranks": 4,
        "precision": "bf16",
        "engine": "deepspeed",
    }


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"zero_stage": 3}, "zero_stage: the checkpoint has 2, this run 3"),
        ({"ranks": 8}, "ranks: the checkpoint has 4, this run 8"),
        ({"precision": "fp32"}, "precision: the checkpoint has bf16, this run fp32"),
    ],
)
def test_another_kind_of_run_is_told_what_differs(folder, graph, change, problem):
    assert problems(folder, graph, attrs.evolve(RUN, **change)) == [problem, READS]


def test_another_spec_is_told_value_by_value(folder):
    first, *rest = problems(folder, tiny("experts"), RUN)
    assert first == "is of another model"
    assert rest
    assert all("the checkpoint has" in line for line in rest)


def test_a_checkpoint_of_another_engine_is_none(graph, tmp_path):
    (tmp_path / "checkpoint.json").write_text("{}")
    (problem,) = problems(tmp_path, graph, RUN)
    assert problem == "no deepspeed.json: not a checkpoint of DeepSpeed; resume with the `engine` that saved it"


def test_an_export_says_whose_checkpoint_it_is_and_what_exports_it(folder):
    with pytest.raises(CheckpointError, match=r"is a checkpoint of DeepSpeed, .* folder `hf` .* --resume"):
        load_saved(folder)
