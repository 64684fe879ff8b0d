"""The loop around an engine: stages, logs, batches of this rank, checkpoints, and a loss that is no number."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import attrs
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from adapters import checkpoint_folder
from adapters.megatron.engine import MegatronEngine
from adapters.megatron.start import build_stages
from adapters.training.collator import Collator
from adapters.training.log import RunLog, StepRecord, read_log
from adapters.training.loop import Trainer
from adapters.training.problems import NonFiniteError, TrainingError
from adapters.training.samples import JsonlSamples, Sample
from adapters.training.sampling import endless_groups
from adapters.training.settings import Checkpoints, OptimizerSettings, Stage, Training
from composer import Graph


def repeat(group: Sequence[Sample]) -> Callable[[int], Iterator[Sequence[Sample]]]:
    def groups(_skip: int) -> Iterator[Sequence[Sample]]:
        while True:
            yield group

    return groups


def make_trainer(engine: MegatronEngine, collator: Collator, group: Sequence[Sample], log: RunLog) -> Trainer:
    return Trainer(engine, collator, engine.settings, repeat(group), Console(file=io.StringIO()), log)


def parameters(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def changed(before: dict[str, Tensor], model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if not torch.equal(before[name], p)}


def test_one_batch_is_learned_by_heart(
    graph: Graph, collator: Collator, settings: Training, samples: JsonlSamples, tmp_path: Path
) -> None:
    stage = Stage("all", 25, ("vision_tower", "embed_vision", "language_model"))
    settings = attrs.evolve(settings, stages=(stage,), optimizer=OptimizerSettings(lr=3e-3, beta2=0.9))
    engine = MegatronEngine(build_stages(graph, settings), settings)
    with RunLog(tmp_path) as log:
        records = make_trainer(engine, collator, list(samples)[:4], log).run()
    assert records[-1].loss < 0.3 * records[0].loss
    assert read_log(tmp_path / "log.jsonl") == records
    assert list(tmp_path.glob("tensorboard/events*"))


def test_stages_follow_one_another_and_freeze(
    engine: MegatronEngine, collator: Collator, samples: JsonlSamples, tmp_path: Path
) -> None:
    seen: list[set[str]] = []
    before = parameters(engine.model)
    begin = engine.begin_stage

    def beginning(stage: Stage) -> None:
        seen.append(changed(before, engine.model))
        begin(stage)

    engine.begin_stage = beginning  # type: ignore[method-assign]
    with RunLog(tmp_path) as log:
        records = make_trainer(engine, collator, list(samples)[:8], log).run()
    assert [{name.split(".")[0] for name in names} for names in seen] == [set(), {"embed_vision"}]
    assert [(record.step, record.stage) for record in records] == [
        (1, "align"), (2, "align"), (3, "all"), (4, "all"), (5, "all"),
    ]  # fmt: skip
    assert changed(before, engine.model) == before.keys()
    assert all(record.tokens_per_second > 0 and record.grad_norm > 0 for record in records)


def test_a_loss_that_is_no_number_stops_before_it_is_applied(
    engine: MegatronEngine, collator: Collator, samples: JsonlSamples, tmp_path: Path
) -> None:
    with torch.no_grad():
        engine.model.get_parameter("language_model.embedding.word_embeddings.weight")[1] = torch.nan
    before = parameters(engine.model)
    with RunLog(tmp_path) as log, pytest.raises(NonFiniteError, match=r"step 1 \(align\): loss nan.*train\.jsonl:1"):
        make_trainer(engine, collator, list(samples)[:8], log).run()
    assert all(torch.equal(before[name].nan_to_num(), p.nan_to_num()) for name, p in engine.model.named_parameters())


def test_records_are_on_disk_at_once(tmp_path: Path) -> None:
    record = StepRecord(1, "a", 2.0, 0.1, 1.0, 10, 5.0, 0.5)
    with RunLog(tmp_path) as log:
        log.write(record)
        assert json.loads((tmp_path / "log.jsonl").read_text()) == attrs.asdict(record)


def test_each_data_rank_reads_its_stretch_of_what_one_rank_reads(
    engine: MegatronEngine, collator: Collator, settings: Training, samples: JsonlSamples
) -> None:
    trainer = Trainer(engine, collator, attrs.evolve(settings, micro_batch=2), repeat([]), Console(quiet=True))
    group = list(samples)[:8]
    whole = [batch.input_ids.tolist() for batch in trainer.share(group)]
    engine.data_ranks = 2
    shares = []
    for engine.data_rank in (0, 1):
        shares += [batch.input_ids.tolist() for batch in trainer.share(group)]
    assert shares == whole
    engine.sequence_multiple, engine.uniform = 8, True
    shapes = {batch.input_ids.shape for batch in trainer.share(group)}
    assert len(shapes) == 1
    assert shapes.pop()[1] % 8 == 0


class Stopped(Exception):
    """The run was cut short."""


@pytest.mark.parametrize("cut", [1, 2, 4], ids=["within_the_first_stage", "between_stages", "within_the_second_stage"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["", "asynchronous"])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    graph: Graph,
    collator: Collator,
    settings: Training,
    samples: JsonlSamples,
    tmp_path: Path,
    cut: int,
    asynchronous: bool,
) -> None:
    """Losses, gradient norms and parameters; what the cut run had in memory is gone."""
    settings = attrs.evolve(
        settings, micro_batch=2, global_batch=4, checkpoints=Checkpoints(every=1, keep=1, asynchronous=asynchronous)
    )
    groups = partial(endless_groups, samples, settings.global_batch, settings.seed, collator.length)

    def trainer(name: str) -> Trainer:
        engine = MegatronEngine(build_stages(graph, settings), settings)
        return Trainer(
            engine, collator, settings, groups, Console(quiet=True), checkpoints=tmp_path / name / "checkpoints"
        )

    whole = trainer("whole")
    expected = whole.run()
    assert whole.checkpoints is not None
    assert len(checkpoint_folder.complete(whole.checkpoints)) == 1  # all but one were removed
    first = trainer("cut")
    step = first.engine.step

    def stopping(batches, lr):
        if first.step == cut:
            raise Stopped
        return step(batches, lr)

    first.engine.step = stopping  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        first.run()
    first.engine.finish_save()
    assert first.checkpoints is not None
    saved = checkpoint_folder.latest(first.checkpoints)
    assert saved is not None
    assert checkpoint_folder.step_of(saved) == cut
    with torch.no_grad():
        for parameter in first.engine.model.parameters():
            parameter.zero_()

    resumed = trainer("cut")
    resumed.resume(saved)
    records = resumed.run()
    assert [(r.step, r.stage, r.loss, r.grad_norm) for r in records] == [
        (r.step, r.stage, r.loss, r.grad_norm) for r in expected[cut:]
    ]
    assert changed(parameters(whole.engine.model), resumed.engine.model) == set()


def test_a_checkpoint_of_other_stages_is_refused(
    engine: MegatronEngine, collator: Collator, settings: Training, samples: JsonlSamples, tmp_path: Path
) -> None:
    engine.begin_stage(settings.stages[0])
    folder = tmp_path / checkpoint_folder.name_of(2)
    engine.save(folder, {"stage": "other", "step": 2})
    trainer = Trainer(engine, collator, settings, repeat(list(samples)[:8]), Console(quiet=True))
    with pytest.raises(TrainingError, match=r"is of stage other, step 2; these settings are in stage align"):
        trainer.resume(folder)
