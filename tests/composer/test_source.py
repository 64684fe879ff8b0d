import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composer.emit import emit
from composer.errors import Location, SpecError
from composer.source import parse, read_tree, scalar
from composer.tree import UNRESOLVED

# Whatever YAML gives a meaning to, and what it must not see unescaped.
TEXT = st.text(
    st.sampled_from("aBe0 -:#'\"\\{}[],&*!|>%@`~$=.?_\n\t\r\x00\x07\x7f\x85\xa0é\u2028\ufeff\uffff😀"), max_size=8
)
TEXT |= st.sampled_from(["true", "null", "on", "~", "1e5", "0x1F", "017", ".inf", "1_000", "<<", "e1", "- a", "a: b"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(TEXT, VALUES, min_size=1, max_size=5))
def test_what_is_emitted_reads_back_with_its_types(data: dict[str, object]) -> None:
    back = parse(emit(data), "x").plain()
    assert back == data
    assert repr(back) == repr(data)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.inf", -math.inf),
        ("17", 17),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("true", True),
        ("~", None),
        ("", None),
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        (".nan", ".nan"),
        ("1e", "1e"),
        ("=", "="),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    found = scalar(text)
    assert (type(found), found) == (type(value), value)


def test_quoted_scalars_are_text() -> None:
    assert parse("a: '1'\nb: \"true\"\nc: |\n  2\n", "x").plain() == {"a": "1", "b": "true", "c": "2\n"}


def test_every_value_knows_its_place() -> None:
    tree = parse("a: {b: [1, two]}\nc: 'x'\n", "f.yaml")
    assert tree.locate(("a", "b", 1)) == Location("f.yaml", 1, 12)
    assert tree.locate(("a", "b")) == Location("f.yaml", 1, 8)
    assert tree.child("c").key_location == Location("f.yaml", 2, 1)
    assert tree.child("c").character(0) == Location("f.yaml", 2, 5)
    assert tree.locate(("a", "absent")) == Location("f.yaml", 1, 1)


@pytest.mark.parametrize("text", ["a: |\n  x\n", "a: 'it''s'", 'a: "\\x41"', "a: x\n  y\n"])
def test_text_that_is_not_written_as_it_reads_has_no_character_places(text: str) -> None:
    assert parse(text, "f").child("a").character(0) is None


def test_aliases_repeat_values_at_their_anchor() -> None:
    tree = parse("a: &a [1, 2]\nb: *a\n", "f")
    assert tree.plain() == {"a": [1, 2], "b": [1, 2]}
    assert tree.locate(("b", 0)) == Location("f", 1, 8)
    assert tree.child("b").key_location == Location("f", 2, 1)


def test_tags_run_nothing_and_leave_no_value(tmp_path) -> None:
    target = tmp_path / "owned"
    tree, problems = read_tree(f"a: !!python/object/apply:pathlib.Path.touch [{target}]\n", "f")
    assert tree.child("a").value is UNRESOLVED
    assert len(problems) == 1
    assert not target.exists()


def test_several_problems_of_one_text_are_found_together() -> None:
    with pytest.raises(SpecError) as caught:
        parse("a: 1\na: 2\n3: !x 4\n", "f")
    assert len(caught.value.problems) == 3


def test_many_brackets_are_an_error_and_no_crash() -> None:
    with pytest.raises(SpecError, match="levels deep"):
        parse("[" * 100_000, "f")


@given(st.text(st.sampled_from("ab:-[]{}&*!|>'\"%@#,? \n\t${}0"), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(SpecError):
        read_tree(text, "f")
