"""The quickstart's data folder: pictures of numbers and conversations about them, as any user's folder would be."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from attrs import frozen
from PIL import Image

from adapters.quickstart.digits import csv_path, read_digits, split_digits
from adapters.quickstart.pictures import NumberPicture, draw_numbers
from adapters.quickstart.tokenizer import SPECIAL, train_tokenizer

LENGTHS = (2, 3, 4)
QUESTIONS = ("What number is this?", "Read the number.", "Which number do you see?")
HELDOUT_SHARE = 0.2


@frozen
class DataSizes:
    """How many pictures to draw; `heldout` for each length."""

    training: int
    heldout: int


def write_data(
    folder: Path,
    sizes: DataSizes,
    vocab_size: int,
    seed: int,
    special: Sequence[str] = SPECIAL,
    lengths: Sequence[int] = LENGTHS,
) -> None:
    """Write `train.jsonl`, `heldout.jsonl`, their pictures and `tokenizer.json`.

    No digit image appears in both files: held-out pictures are of handwriting that training never shows.

    Raises:
        DigitsMissingError: the digits are not installed.
    """
    training, heldout = split_digits(read_digits(csv_path()), HELDOUT_SHARE, seed)
    write_samples(folder, "train", draw_numbers(training, sizes.training, lengths, seed))
    write_samples(folder, "heldout", draw_numbers(heldout, sizes.heldout * len(lengths), lengths, seed + 1))
    tokenizer = train_tokenizer([question + "\n" for question in QUESTIONS], vocab_size, special)
    tokenizer.save(str(folder / "tokenizer.json"))


def write_samples(folder: Path, name: str, pictures: Iterable[NumberPicture]) -> None:
    """Write the pictures as PNG under `folder/name` and the conversations about them to `folder/name.jsonl`."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
        for index, picture in enumerate(pictures):
            image = f"{name}/{index:05}.png"
            Image.fromarray(picture.pixels).save(folder / image, compress_level=1)
            file.write(json.dumps(conversation(image, question_for(index), picture)) + "\n")


def question_for(index: int) -> str:
    """Questions in turn, each for as many pictures as there are lengths, so that none gives a length away."""
    return QUESTIONS[index // len(LENGTHS) % len(QUESTIONS)]


def conversation(image: str, question: str, picture: NumberPicture) -> dict[str, object]:
    """One line of the JSONL; `rows` says which rows of the file of digits the picture shows."""
    turns: Sequence[tuple[str, str]] = (("human", f"<image>{question}"), ("gpt", picture.number))
    return {
        "image": image,
        "conversations": [{"from": who, "value": text} for who, text in turns],
        "rows": list(picture.rows),
    }
