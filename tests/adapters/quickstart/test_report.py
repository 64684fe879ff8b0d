"""Scores, and the pictures of a run."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapters.quickstart.answers import Answer, Score, score_answers
from adapters.quickstart.report import draw_loss, draw_sheet, smooth
from adapters.training.log import StepRecord


def test_scores_are_exact_matches_by_length() -> None:
    said = [("12", "12"), ("34", "43"), ("56", "5"), ("123", "123"), ("4567", "4568"), ("7890", "")]
    found = score_answers([Answer(Path("x.png"), number, text) for number, text in said])
    assert found == (Score(2, 1, 3), Score(3, 1, 1), Score(4, 0, 2))
    assert found[0].accuracy == pytest.approx(1 / 3)
    assert found[0].chance == 1 / 90


def test_smoothing_keeps_a_constant_and_starts_at_the_first_value() -> None:
    np.testing.assert_allclose(smooth(np.full(50, 3.0)), 3.0)
    values = np.array([4.0, 0.0, 0.0])
    assert smooth(values)[0] == 4.0
    assert smooth(values)[1] < 4.0


def colours(path: Path, like: tuple[int, int, int]) -> int:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return int((np.abs(pixels - like).max(-1) < 12).sum())


def test_right_and_wrong_answers_look_different(tmp_path: Path) -> None:
    Image.new("L", (64, 32), 200).save(tmp_path / "p.png")
    green, red = (15, 123, 69), (198, 47, 47)
    for name, said in (("right", "12"), ("wrong", "21")):
        answers = [Answer(tmp_path / "p.png", "12", said)] * 20
        draw_sheet(answers, score_answers(answers), tmp_path / f"{name}.png")
    assert colours(tmp_path / "right.png", green) > 200 > colours(tmp_path / "right.png", red)
    assert colours(tmp_path / "wrong.png", red) > 200 > colours(tmp_path / "wrong.png", green)


def test_the_loss_curve_follows_the_records(tmp_path: Path) -> None:
    records = [
        StepRecord(step, "align" if step <= 5 else "read", 3 / step, 0.1, 1.0, 10, 5.0, 2.5, 0.5, float(step))
        for step in range(1, 40)
    ]
    draw_loss(records, tmp_path / "loss.png")
    assert colours(tmp_path / "loss.png", (47, 111, 208)) > 500
    with Image.open(tmp_path / "loss.png") as image:
        assert image.size == (1200, 600)
