"""Pictures of numbers and the folder they are written to."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapters.quickstart.data import LENGTHS, QUESTIONS, DataSizes, write_data
from adapters.quickstart.digits import SIDE_PX, Digits, csv_path, read_digits
from adapters.quickstart.pictures import CELL_PX, chance, draw_numbers
from adapters.quickstart.tokenizer import SPECIAL, train_tokenizer


@pytest.fixture(scope="module")
def digits() -> Digits:
    return read_digits(csv_path())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    write_data(path, DataSizes(training=90, heldout=15), 320, seed=0)
    return path


def records(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def test_pictures_show_their_number(digits: Digits) -> None:
    for picture in draw_numbers(digits, 12, LENGTHS, seed=1):
        assert picture.pixels.shape == (CELL_PX, CELL_PX * len(picture.number))
        for cell, row in enumerate(picture.rows):
            assert picture.number[cell] == str(digits.classes[row])
            ink = 255 - picture.pixels[:, CELL_PX * cell : CELL_PX * (cell + 1)]
            places = [
                (top, left)
                for top in range(CELL_PX - SIDE_PX + 1)
                for left in range(CELL_PX - SIDE_PX + 1)
                if np.array_equal(ink[top : top + SIDE_PX, left : left + SIDE_PX], digits.pixels[row])
            ]
            assert places
            assert int(ink.sum()) == int(digits.pixels[row].sum())


def test_numbers_are_equally_likely_and_never_start_with_nought(digits: Digits) -> None:
    numbers = [picture.number for picture in draw_numbers(digits, 6000, LENGTHS, seed=2)]
    assert Counter(map(len, numbers)) == dict.fromkeys(LENGTHS, 2000)
    two = Counter(number for number in numbers if len(number) == 2)
    assert set(two) == {str(n) for n in range(10, 100)}
    assert max(two.values()) <= 50  # 22 on average
    assert not any(number.startswith("0") for number in numbers)
    assert chance(2) == 1 / 90
    assert chance(4) == 1 / 9000


def test_held_out_handwriting_is_never_trained_on(folder: Path) -> None:
    training, heldout = ({row for r in records(folder, name) for row in r["rows"]} for name in ("train", "heldout"))
    assert training
    assert heldout
    assert training.isdisjoint(heldout)


def test_the_folder_holds_what_its_lines_say(folder: Path, digits: Digits) -> None:
    for name, count in (("train", 90), ("heldout", 45)):
        found = records(folder, name)
        assert len(found) == count
        for record in found:
            human, answer = record["conversations"]
            assert answer["value"] == "".join(str(digits.classes[row]) for row in record["rows"])
            assert human["value"].removeprefix("<image>") in QUESTIONS
            assert answer["value"] not in human["value"]
            with Image.open(folder / record["image"]) as picture:
                assert picture.size == (CELL_PX * len(answer["value"]), CELL_PX)


def test_the_question_gives_nothing_away(folder: Path) -> None:
    pairs = Counter(
        (r["conversations"][0]["value"], len(r["conversations"][1]["value"])) for r in records(folder, "train")
    )
    assert pairs == dict.fromkeys(pairs, 10)
    assert len(pairs) == len(QUESTIONS) * len(LENGTHS)


def test_the_tokenizer_reads_digits_one_by_one_and_any_text() -> None:
    texts = [f"{question}\n" for question in QUESTIONS]
    tokenizer = train_tokenizer([*texts, *["9054 9054"] * 50], 320)  # numbers that are seen often stay digits, too
    assert tokenizer.get_vocab_size() <= 320
    assert [tokenizer.token_to_id(token) for token in SPECIAL] == list(range(len(SPECIAL)))
    assert len(tokenizer.encode("<bos>9054<eos>").ids) == 6
    for text in ("Ünïcode, 漢字 and\ttabs\n", QUESTIONS[0]):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert len(tokenizer.encode(QUESTIONS[0]).ids) <= 8
