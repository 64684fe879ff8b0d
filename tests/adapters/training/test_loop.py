"""Steps: gradients that do not depend on how a batch is cut, learning, and a loss that is no number."""

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from adapters.training.collator import Collator
from adapters.training.log import RunLog, StepRecord, read_log
from adapters.training.loop import Trainer, accumulate_gradients
from adapters.training.problems import TrainingError
from adapters.training.samples import JsonlSamples, Sample
from adapters.training.settings import OptimizerSettings, Stage, Training
from composer import Graph


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def repeat(group: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
    while True:
        yield group


def test_micro_batches_do_not_change_the_gradient(model: nn.Module, collator: Collator, samples: JsonlSamples) -> None:
    group = list(samples)[:6]  # two to four digits: micro-batches of one hold different numbers of learned tokens
    found = []
    for size in (6, 1):
        model.zero_grad(set_to_none=True)
        batches = [collator.training_batch(group[at : at + size]) for at in range(0, 6, size)]
        found.append((accumulate_gradients(model, batches), gradients(model)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for name, whole in found[0][1].items():
        assert torch.dist(whole, found[1][1][name]) <= 1e-3 * whole.norm(), name


def test_the_loss_is_the_mean_over_learned_tokens(model: nn.Module, collator: Collator, samples: JsonlSamples) -> None:
    batch = collator.training_batch(list(samples)[:3])
    with torch.no_grad():
        logits = model(**batch.inputs())
        expected = nn.functional.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), ignore_index=-100)
        assert accumulate_gradients(model, [batch]) == pytest.approx(float(expected), rel=1e-5)


def make_trainer(
    model: nn.Module, graph: Graph, collator: Collator, settings: Training, group: Sequence[Sample], log: RunLog
) -> Trainer:
    return Trainer(model, graph, collator, settings, repeat(group), log, Console(file=io.StringIO()))


def test_one_batch_is_learned_by_heart(
    model: nn.Module, graph: Graph, collator: Collator, settings: Training, samples: JsonlSamples, tmp_path: Path
) -> None:
    stage = Stage("all", 25, ("vision_tower", "embed_vision", "language_model"))
    settings = attrs.evolve(settings, stages=(stage,), optimizer=OptimizerSettings(lr=3e-3, beta2=0.9))
    with RunLog(tmp_path) as log:
        records = make_trainer(model, graph, collator, settings, list(samples)[:4], log).run()
    assert records[-1].loss < 0.3 * records[0].loss
    assert read_log(tmp_path / "log.jsonl") == records
    assert list(tmp_path.glob("tensorboard/events*"))


def test_stages_follow_one_another_and_freeze(
    model: nn.Module, graph: Graph, collator: Collator, settings: Training, samples: JsonlSamples, tmp_path: Path
) -> None:
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with RunLog(tmp_path) as log:
        trainer = make_trainer(model, graph, collator, settings, list(samples)[:8], log)
        first = trainer.run_stage(settings.stages[0])
        changed = {name.split(".")[0] for name, p in model.named_parameters() if not torch.equal(before[name], p)}
        second = trainer.run_stage(settings.stages[1])
    assert changed == {"embed_vision"}
    assert [(record.step, record.stage) for record in (*first, *second)] == [
        (1, "align"), (2, "align"), (3, "all"), (4, "all"), (5, "all"),
    ]  # fmt: skip
    unchanged = [name for name, p in model.named_parameters() if torch.equal(before[name], p)]
    assert unchanged == []
    assert all(record.tokens_per_second > 0 and record.grad_norm > 0 for record in (*first, *second))


def test_a_loss_that_is_no_number_stops_before_it_is_applied(
    model: nn.Module, graph: Graph, collator: Collator, settings: Training, samples: JsonlSamples, tmp_path: Path
) -> None:
    with torch.no_grad():
        model.get_parameter("language_model.embedding.word_embeddings.weight")[1] = torch.nan
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with RunLog(tmp_path) as log, pytest.raises(TrainingError, match=r"step 1 \(align\): loss nan.*train\.jsonl:1"):
        make_trainer(model, graph, collator, settings, list(samples)[:8], log).run()
    assert all(torch.equal(before[name].nan_to_num(), p.nan_to_num()) for name, p in model.named_parameters())


def test_records_are_on_disk_at_once(tmp_path: Path) -> None:
    record = StepRecord(1, "a", 2.0, 0.1, 1.0, 10, 5.0, 0.5)
    with RunLog(tmp_path) as log:
        log.write(record)
        assert json.loads((tmp_path / "log.jsonl").read_text()) == attrs.asdict(record)
