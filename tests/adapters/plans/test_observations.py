"""A run's log as timed steps; and constants fitted to half of the lengths of real steps meet the other half better."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters.megatron import build
from adapters.plans.inventory import inventory
from adapters.plans.observations import execution_of, observations, timed_steps, trained_in_run
from adapters.plans.planned import trained_by
from adapters.training.problems import TrainingError
from adapters.training.run_file import Run, read_run, write_run
from adapters.training.settings import Stage, Training
from components.language.costs.decoder import GptCosts
from composer import Graph
from composer.edges import MaskEdge
from composer.plans.calibrate import calibrate
from composer.plans.execution import Execution
from composer.plans.hardware import Efficiency, Hardware
from composer.plans.job import Job
from composer.plans.layout import Layout
from composer.plans.model import PlannedModel

LENGTHS = (128, 256, 384, 512, 640, 768)


def line(step: int, tokens: int, seconds: float, samples: int = 2, stage: str = "sft", images: int = 0) -> str:
    record = {"step": step, "stage": stage, "loss": 1.0, "lr": 0.1, "grad_norm": 1.0, "tokens": tokens}
    rates = {"tokens_per_second": tokens / seconds, "samples_per_second": samples / seconds}
    return json.dumps({**record, **rates, "peak_memory_gib": 1.0, "seconds": float(step), "images": images}) + "\n"


def test_steps_by_length_without_warm_up(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    lines = [line(step, 256, 9.0) for step in range(3)] + [line(step, 250, 1.0 + step % 3) for step in range(3, 9)]
    path.write_text("".join([*lines, line(9, 500, 4.0)]))
    assert [(each.seq, each.samples, each.seconds) for each in timed_steps(path)] == [(128, 2, 2.0), (256, 2, 4.0)]


def test_a_stage_by_name(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    path.write_text(
        "".join(line(step, 256, 1.0 if step < 5 else 2.0, stage="align" if step < 5 else "sft") for step in range(10))
    )
    assert timed_steps(path, "align")[0].seconds == pytest.approx(1.0)
    assert timed_steps(path)[0].seconds == pytest.approx(2.0)
    with pytest.raises(TrainingError, match=r"has no stage 'stf'; it has align, sft\."):
        timed_steps(path, "stf")


def test_logs_that_say_nothing(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    with pytest.raises(TrainingError, match="holds no step"):
        timed_steps(path)
    path.write_text(line(0, 256, 1.0))
    with pytest.raises(TrainingError, match="sft has 1 steps, of which the first 3 are not counted"):
        timed_steps(path)
    path.write_text('{"loss": 3}\n')
    with pytest.raises(TrainingError, match="no log of a training run"):
        timed_steps(path)


def test_batches_of_another_run(tmp_path: Path, planned: PlannedModel):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(line(step, 256, 1.0) for step in range(5)))
    write_run(tmp_path, Run(1, planned.inventory.graph, training(micro_batch=3)))
    with pytest.raises(TrainingError, match="a step had 2 samples, no multiple of 3"):
        observations(path, planned)


def test_a_log_alone_says_too_little(tmp_path: Path, planned: PlannedModel):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(line(step, 256, 1.0) for step in range(5)))
    with pytest.raises(TrainingError, match=r"run\.yaml: cannot be read: No such file or directory\."):
        observations(path, planned)


def test_what_a_run_was_comes_back(tmp_path: Path):
    run = Run(
        4, "0123456789abcdef", training(micro_batch=2, precision="bf16", layout=Layout(tp=2, sequence_parallel=True))
    )
    write_run(tmp_path, run)
    assert read_run(tmp_path / "log.jsonl") == run


def test_images_of_a_sample(tmp_path: Path, planned: PlannedModel):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(line(step, 512, 1.0, images=6) for step in range(5)))
    write_run(
        tmp_path, Run(1, planned.inventory.graph, training(precision="bf16", transformer_impl="transformer_engine"))
    )
    (found,) = observations(path, planned)
    assert found.job == Job(1, 256, 2, images=3, image_tokens=85)


def training(**settings: Any) -> Training:
    return Training(stages=(Stage("sft", 1, ("language_model",)),), **settings)


def test_settings_say_how_a_run_is_executed():
    settings = Training(stages=(Stage("sft", 1, ()),), micro_batch=4, distributed_optimizer=True)
    assert execution_of(settings, 2) == Execution(2, micro_batch=4, distributed_optimizer=True)


@pytest.fixture(scope="module")
def planned(experts_graph: Graph) -> PlannedModel:
    found = inventory(experts_graph)
    rules = next(edge for edge in experts_graph.edges if isinstance(edge, MaskEdge)).rules
    trained = frozenset(each.name for each in found.parameters if each.node == "language_model")
    return PlannedModel(found, "language_model", GptCosts(experts_graph.decoder().config), dict(rules), trained)


def other_machine() -> Hardware:
    """A file that was written for a much slower machine than any that runs this."""
    every = Efficiency(gemm=0.1, grouped_gemm=0.1, attention=0.1, elementwise=0.1, network=0.5)
    return Hardware("CPU", 24, 0.1, 0.1, 20, 1, 10, 1, 50, 25, 1, every)


def test_lengths_that_were_not_seen_are_met_better(tmp_path: Path, experts_graph: Graph, planned: PlannedModel):
    # Processor time: the machine may be busy with other tests.
    path = tmp_path / "log.jsonl"
    model = build(experts_graph).train()
    optimizer = torch.optim.AdamW(model.language_model.parameters(), fused=True)
    step, lines = 0, [line(number, 64, 9.0, samples=1) for number in range(3)]
    for length in LENGTHS:
        ids = torch.randint(3, 100, (1, length))
        for _ in range(4):
            begin = time.process_time()
            model(input_ids=ids, labels=ids.roll(-1, 1))[0].mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            lines.append(line(step, length, time.process_time() - begin, samples=1))
    path.write_text("".join(lines))
    write_run(tmp_path, Run(1, planned.inventory.graph, training()))
    found = observations(path, planned)
    assert [each.job.seq for each in found] == list(LENGTHS)
    fitted = calibrate(other_machine(), found[::2], trust=1.0)
    before, after = (
        sum(abs(each.error(hardware)) for each in found[1::2]) / len(found[1::2])
        for hardware in (other_machine(), fitted)
    )
    print(f"mean error of unseen lengths: {before:.2f} before, {after:.2f} after")
    assert after < 0.5 * before


def test_a_log_of_another_model(tmp_path: Path, planned: PlannedModel):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(line(step, 256, 1.0) for step in range(5)))
    write_run(tmp_path, Run(1, "0123456789abcdef", training()))
    with pytest.raises(TrainingError, match="is of a run of another model \\(content 0123456789abcdef\\)"):
        observations(path, planned)


def test_what_trained_in_a_run(tmp_path: Path, experts_graph: Graph):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(line(step, 256, 1.0) for step in range(5)))
    for selectors in (("embed_vision",), ("decoder - router", "embed_vision")):
        write_run(tmp_path, Run(1, "x", Training(stages=(Stage("sft", 1, selectors),))))
        names = trained_in_run(path, experts_graph)
        assert names == trained_by(experts_graph, selectors)
        assert any("embed_vision" in name for name in names)
    assert not any("router" in name for name in names)
