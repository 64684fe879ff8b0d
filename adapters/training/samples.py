r"""Conversations about pictures, read from LLaVA-style JSONL.

One JSON object a line:

    {"image": "images/7.png", "conversations": [{"from": "human", "value": "<image>\nWhat is it?"},
                                               {"from": "gpt", "value": "A seven."}]}

`image` is a path, a list of paths, or absent; paths are relative to the JSONL file's folder. Every `<image>` in a
human's text stands for the next picture.
"""

import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from adapters.training.problems import DataError

IMAGE_MARK = "<image>"
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


@frozen
class Turn:
    """What one side says; role is system, user or assistant."""

    role: str
    text: str


@frozen
class Sample:
    """A conversation, its pictures in the order of their marks, and where it was read (`file:line`)."""

    turns: tuple[Turn, ...]
    images: tuple[Path, ...]
    where: str


class JsonlSamples:
    """The samples of one JSONL file. Only line offsets are held in memory; a line is parsed when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offsets = array("q")
        self._lines = array("q")
        try:
            with path.open("rb") as file:
                offset = 0
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        self._offsets.append(offset)
                        self._lines.append(number)
                    offset += len(line)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
        if not self._offsets:
            raise DataError(f"{path}: holds no samples.")

    def __len__(self) -> int:
        return len(self._offsets)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Sample:
        where = f"{self.path}:{self._lines[index]}"
        with self.path.open("rb") as file:
            file.seek(self._offsets[index])
            line = file.readline()
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataError(f"{where}: not JSON: {error}.") from error
        return sample_of(record, self.path.parent, where)


def sample_of(record: Any, folder: Path, where: str) -> Sample:
    """A record of the file as a sample.

    Raises:
        DataError: not of the form above, or marks and pictures differ in number.
    """
    if not isinstance(record, dict):
        raise DataError(f"{where}: not a JSON object.")
    turns = _turns(record.get("conversations"), where)
    images = record.get("image", [])
    images = [images] if isinstance(images, str) else images
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise DataError(f"{where}: image: must be a path or a list of paths.")
    marks = sum(turn.text.count(IMAGE_MARK) for turn in turns)
    if marks != len(images):
        raise DataError(f"{where}: {marks} {IMAGE_MARK} marks but {len(images)} pictures.")
    return Sample(turns, tuple(folder / image for image in images), where)


def _turns(conversation: Any, where: str) -> tuple[Turn, ...]:
    if not isinstance(conversation, list) or not conversation:
        raise DataError(f"{where}: conversations: must be a list of turns.")
    turns = []
    for index, turn in enumerate(conversation):
        path = f"{where}: conversations[{index}]"
        if not isinstance(turn, dict) or not isinstance(turn.get("value"), str):
            raise DataError(f"{path}: must be an object with the strings `from` and `value`.")
        role = ROLES.get(turn.get("from", ""))
        if role is None:
            raise DataError(f"{path}.from: {turn.get('from')!r} is none of {', '.join(ROLES)}.")
        if role == "assistant" and IMAGE_MARK in turn["value"]:
            raise DataError(f"{path}.value: an answer cannot hold {IMAGE_MARK}.")
        turns.append(Turn(role, turn["value"]))
    return tuple(turns)
