from typing import Any, Literal

import pytest
from attrs import field, frozen

from composer.decode import DecodeError, reader_of
from composer.source import parse


@frozen
class Inner:
    size: int
    name: str = "x"


@frozen
class Outer:
    inner: Inner
    class_name: str = field(default="", metadata={"key": "class"})
    many: tuple[Inner, ...] = ()
    named: dict[str, Inner | None] = field(factory=dict)
    mode: Literal["a", "b"] = "a"

    def __attrs_post_init__(self) -> None:
        if self.class_name == "bad":
            raise ValueError("bad is no class.")


@frozen
class Entry:
    a: int
    b: dict[str, int]
    c: Inner | None = None


@frozen
class Shared:
    kinds: dict[str, Entry] = field(metadata={"merged_over": "every"})


def read(expected: Any, text: str) -> Any:
    return reader_of(expected)(parse(text, "f"), ())


def messages(expected: Any, text: str) -> list[str]:
    with pytest.raises(DecodeError) as caught:
        read(expected, text)
    return [f"{problem.location}: {problem.path}: {problem.message}" for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("expected", "text", "value"),
    [
        (int, "3", 3),
        (float, "3", 3.0),
        (float, "1e-4", 1e-4),
        (float, ".inf", float("inf")),
        (str, "on", "on"),
        (bool, "true", True),
        (int | None, "null", None),
        (int | float, "3", 3),
        (float | str, "3", 3.0),
        (float | str, "sqrt", "sqrt"),
        (str | int, "3", 3),
        (tuple[str | int, ...], "[a, 3]", ("a", 3)),
        (list[int], "[]", []),
        (dict[str, int], "{a: 1}", {"a": 1}),
        (Literal["a", 1], "1", 1),
        (Any, "{a: [1, x]}", {"a": [1, "x"]}),
        (Inner | None, "{size: 1}", Inner(1)),
        (Outer, "{inner: {size: 1}, class: C, named: {q: null}}", Outer(Inner(1), "C", named={"q": None})),
    ],
)
def test_values(expected: Any, text: str, value: Any) -> None:
    found = read(expected, text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("expected", "text", "message"),
    [
        (int, "3.0", "f:1:1: : an integer is expected, not the number 3.0."),
        (int, "true", "f:1:1: : an integer is expected, not true."),
        (int, "'3'", "f:1:1: : an integer is expected, not the text '3'. Remove the quotes."),
        (float, "'1e-4'", "f:1:1: : a number is expected, not the text '1e-4'. Remove the quotes."),
        (float, "true", "f:1:1: : a number is expected, not true."),
        (float, "1" + "0" * 400, "f:1:1: : the number is too large for a float."),
        (str, "3", "f:1:1: : text is expected, not the number 3."),
        (bool, "yes", "f:1:1: : true or false is expected, not the text 'yes'."),
        (bool, "1", "f:1:1: : true or false is expected, not the number 1."),
        (int | None, "x", "f:1:1: : an integer or null is expected, not the text 'x'."),
        (list[int], "3", "f:1:1: : a list is expected, not the number 3."),
        (list[int], "[1, x]", "f:1:5: [1]: an integer is expected, not the text 'x'."),
        (dict[str, int], "[1]", "f:1:1: : a mapping is expected, not a list."),
        (Literal["none", "rms"], "rmz", "f:1:1: : 'rmz' is no choice here. Did you mean 'rms'?"),
        (Literal["aa", "bb"], "3", "f:1:1: : aa or bb is expected, not the number 3."),
        (Inner, "{}", "f:1:1: size: missing: an integer is required."),
        (Inner, "{siz: 1}", "f:1:2: siz: unknown key. Did you mean 'size'?"),
        (Outer, "{inner: {size: 1}, class: bad}", "f:1:1: : bad is no class."),
    ],
)
def test_messages(expected: Any, text: str, message: str) -> None:
    assert messages(expected, text) == [message]


def test_all_problems_at_once() -> None:
    found = messages(Outer, "inner: {size: x, nam: 3}\nmany: [{size: 1}, {size: null}, 3]\nmode: c\n")
    assert [line.split(": ")[1] for line in found] == ["inner.size", "inner.nam", "many[1].size", "many[2]", "mode"]


def test_shared_mappings_are_merged_deeply_under_each_entry() -> None:
    text = """
    every: {a: 1, b: {x: 1, y: 2}, c: {size: 3}}
    kinds:
      one: {}
      two: {a: 2, b: {y: 3, z: 4}}
      three: {c: null}
    """
    assert read(Shared, text) == Shared(
        {
            "one": Entry(1, {"x": 1, "y": 2}, Inner(3)),
            "two": Entry(2, {"x": 1, "y": 3, "z": 4}, Inner(3)),
            "three": Entry(1, {"x": 1, "y": 2}, None),
        }
    )


def test_a_shared_mistake_is_reported_where_it_is_written() -> None:
    found = messages(Shared, "every: {a: x, b: {}}\nkinds: {one: {}}\n")
    assert found == ["f:1:12: kinds.one.a: an integer is expected, not the text 'x'."]


def test_a_type_that_no_reader_knows_is_a_mistake_of_the_declaration() -> None:
    with pytest.raises(TypeError, match="cannot stand in a spec"):
        reader_of(set[int])
