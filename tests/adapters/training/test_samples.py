"""Reading LLaVA-style JSONL: what is taken, and what each kind of slip says."""

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.training.problems import DataError
from adapters.training.samples import JsonlSamples, Sample, Turn
from adapters.training.sampling import endless_groups

ASK = {"from": "human", "value": "<image>What?"}
SAY = {"from": "gpt", "value": "That."}


def write(folder: Path, *records: Any) -> JsonlSamples:
    path = folder / "train.jsonl"
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records) + "\n", encoding="utf-8")
    return JsonlSamples(path)


def test_conversations_and_pictures(tmp_path: Path) -> None:
    two = {"image": ["a.png", "b/c.png"], "conversations": [{"from": "system", "value": "é"}, ASK, SAY, ASK, SAY]}
    samples = write(tmp_path, {"image": "a.png", "conversations": [ASK, SAY]}, "", two, {"conversations": [SAY]})
    assert len(samples) == 3
    assert samples[0].images == (tmp_path / "a.png",)
    assert samples[1].images == (tmp_path / "a.png", tmp_path / "b" / "c.png")
    assert samples[1].turns[:2] == (Turn("system", "é"), Turn("user", "<image>What?"))
    assert samples[1].where.endswith("train.jsonl:3")
    assert samples[2].images == ()
    assert [sample.where for sample in samples] == [samples[index].where for index in range(3)]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ({"image": "a.png"}, "conversations: must be a list of turns"),
        ({"conversations": []}, "conversations: must be a list of turns"),
        ({"conversations": [{"from": "human"}]}, r"conversations\[0\]: must be an object"),
        ({"conversations": [{"from": "cat", "value": ""}]}, r"conversations\[0\]\.from: 'cat' is none of"),
        ({"image": 3, "conversations": [ASK]}, "image: must be a path"),
        ({"image": ["a", "b"], "conversations": [ASK]}, "1 <image> marks but 2 pictures"),
        ({"conversations": [ASK]}, "1 <image> marks but 0 pictures"),
        (
            {"image": "a", "conversations": [SAY | {"value": "<image>"}]},
            r"conversations\[0\]\.value: an answer cannot hold <image>",
        ),
    ],
)
def test_each_slip_names_file_and_line(tmp_path: Path, record: Any, message: str) -> None:
    samples = write(tmp_path, {"conversations": [SAY]}, record)
    with pytest.raises(DataError, match=rf"train\.jsonl:2: {message}"):
        samples[1]


def test_no_file_and_no_samples(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        JsonlSamples(tmp_path / "train.jsonl")
    with pytest.raises(DataError, match="holds no samples"):
        write(tmp_path, "")


def test_every_sample_once_an_epoch_in_an_order_of_the_seed(tmp_path: Path) -> None:
    samples = write(tmp_path, *[{"conversations": [{"from": "gpt", "value": str(n)}]} for n in range(10)])

    def first(seed: int, groups: int) -> list[str]:
        source = endless_groups(samples, 4, seed)
        return [sample.turns[0].text for _ in range(groups) for sample in next(source)]

    order = first(0, 5)
    assert sorted(order[:10], key=int) == sorted(order[10:], key=int) == [str(n) for n in range(10)]
    assert order[:10] != order[10:]
    assert first(0, 5) == order
    assert first(1, 5) != order


def test_groups_by_length_pad_little_and_leave_nothing_out(tmp_path: Path) -> None:
    words = ["x" * (1 + n % 5) for n in range(64)]
    samples = write(tmp_path, *[{"conversations": [{"from": "gpt", "value": f"{n} {w}"}]} for n, w in enumerate(words)])

    def text(sample: Sample) -> str:
        return sample.turns[0].text

    source = endless_groups(samples, 4, 0, length=lambda sample: len(text(sample).split()[1]))
    groups = [next(source) for _ in range(16)]
    assert sorted(int(text(sample).split()[0]) for group in groups for sample in group) == list(range(64))
    mixed = [group for group in groups if len({text(sample).split()[1] for sample in group}) > 1]
    assert len(mixed) <= 4  # at most one at each border between five lengths
    lengths = [len(text(group[0]).split()[1]) for group in groups]
    assert lengths not in (sorted(lengths), sorted(lengths, reverse=True))
