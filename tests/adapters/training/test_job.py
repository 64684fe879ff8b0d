"""A whole run on a folder, as `vlm-composer train` starts it."""

import io
from pathlib import Path

import attrs
import pytest
import torch
from rich.console import Console

from adapters.training import run
from adapters.training.problems import TrainingError
from adapters.training.run_file import read_run
from adapters.training.samples import JsonlSamples
from adapters.training.settings import Training
from composer import Graph


def test_a_run_trains_logs_and_exports(graph: Graph, settings: Training, data_dir: Path, tmp_path: Path) -> None:
    screen = Console(file=io.StringIO(), width=120)
    result = run(graph, settings, data_dir, tmp_path, console=screen)
    assert [record.step for record in result.records] == [1, 2, 3, 4, 5]
    assert (tmp_path / "hf" / "config.json").is_file()
    assert (tmp_path / "hf" / "tokenizer.json").read_text() == (data_dir / "tokenizer.json").read_text()
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "align: step 2/2, loss " in shown
    assert "tokens/s" in shown

    left = read_run(tmp_path / "log.jsonl")
    assert left.processes == 1
    assert left.settings.stages == settings.stages
    (step,) = {(record.images, record.tokens) for record in result.records if record.step == 1}
    assert step[0] == settings.global_batch  # a picture in each sample

    again = run(graph, settings, data_dir, tmp_path / "again", console=Console(file=io.StringIO()))
    assert [record.loss for record in again.records] == [record.loss for record in result.records]

    # From the exported weights: the same model, so the dry run's loss is what the trained model has.
    screen = Console(file=io.StringIO(), width=120)
    loaded = run(graph, settings, data_dir, tmp_path / "dry", weights=tmp_path / "hf", dry_run=True, console=screen)
    for name, parameter in result.model.named_parameters():
        assert torch.equal(parameter, loaded.model.get_parameter(name)), name


def test_a_dry_run_says_what_would_train_and_writes_nothing(
    graph: Graph, settings: Training, data_dir: Path, tmp_path: Path
) -> None:
    screen = Console(file=io.StringIO(), width=120)
    result = run(graph, settings, data_dir, tmp_path / "run", dry_run=True, console=screen)
    assert result.records == ()
    assert not (tmp_path / "run").exists()
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "24 samples" in shown
    rows = [line.split() for line in shown.splitlines() if "embed_vision" in line]
    assert rows
    assert all("9,216" in row for row in rows)


def test_data_is_checked_before_the_model_is_built(
    graph: Graph, settings: Training, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the model was built")

    monkeypatch.setattr("adapters.megatron.start.build_stages", never)
    (tmp_path / "train.jsonl").write_text(
        '{"image": "gone.png", "conversations": [{"from": "human", "value": "<image>"}]}'
    )
    (tmp_path / "tokenizer.json").write_bytes((data_dir / "tokenizer.json").read_bytes())
    with pytest.raises(TrainingError, match=r"train\.jsonl:1: no picture .*gone\.png"):
        run(graph, settings, tmp_path, tmp_path / "run", console=Console(file=io.StringIO()))
    with pytest.raises(TrainingError, match="max_length"):
        run(graph, attrs.evolve(settings, max_length=10**6), data_dir, tmp_path / "run")
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(TrainingError, match=r"tokenizer\.json: no such file"):
        run(graph, settings, tmp_path, tmp_path / "run")


def test_two_seeds_are_two_models(graph: Graph, settings: Training, data_dir: Path, tmp_path: Path) -> None:
    first, second = (
        run(
            graph,
            attrs.evolve(settings, seed=seed),
            data_dir,
            tmp_path,
            dry_run=True,
            console=Console(file=io.StringIO()),
        )
        for seed in (0, 1)
    )
    assert len(JsonlSamples(data_dir / "train.jsonl")) == 24
    same = [
        name
        for name, p in first.model.named_parameters()
        if p.ndim > 1 and torch.equal(p, second.model.get_parameter(name))
    ]
    assert same == []
