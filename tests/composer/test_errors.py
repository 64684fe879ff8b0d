import pytest
from hypothesis import given
from hypothesis import strategies as st

from composer.errors import Location, Problem, SpecError
from composer.path import PathSyntaxError, format_path, parse_path
from composer.suggestion import suggestion


def test_text_has_headline_source_line_and_caret() -> None:
    error = SpecError([Problem(Location("f", 2, 4), "a.b", "wrong.")], {"f": "x: 1\ny: oops\n"})
    assert str(error) == "f:2:4: a.b: wrong.\n    y: oops\n       ^"


def test_problems_are_sorted_and_said_once() -> None:
    problems = [
        Problem(Location("f", 10, 1), "", "c"),
        Problem(Location("f", 9, 2), "", "b"),
        Problem(Location("--set a=1", 1, 1), "", "d"),
        Problem(Location("f", 9, 1), "", "a"),
        Problem(None, "", "0"),
        Problem(Location("f", 9, 1), "", "a"),
    ]
    assert [problem.message for problem in SpecError(problems).problems] == ["0", "a", "b", "c", "d"]


def test_long_lines_are_shown_around_the_caret() -> None:
    line = "x" * 500 + "HERE" + "y" * 500
    _, shown, caret = str(SpecError([Problem(Location("f", 1, 501), "", "m")], {"f": line})).splitlines()
    assert len(shown) <= 164
    assert shown[caret.index("^") :].startswith("HERE")


def test_characters_that_steer_a_terminal_are_replaced() -> None:
    text = str(SpecError([Problem(Location("f", 1, 1), "", "m")], {"f": "a\x1b[31mb"}))
    assert "\x1b" not in text


def test_lines_nobody_has_are_left_out() -> None:
    assert str(SpecError([Problem(Location("g", 1, 1), "p", "m")], {"f": "x"})) == "g:1:1: p: m"
    assert str(SpecError([Problem(Location("--set a=1", 1, 1), "p", "m")], {})) == "--set a=1: p: m"


STEPS = st.lists(st.sampled_from(["a", "b_1", "full-attention", "0"]) | st.integers(0, 99), min_size=1)


@given(STEPS.filter(lambda steps: isinstance(steps[0], str)))
def test_paths_come_back(steps: list[str | int]) -> None:
    assert parse_path(format_path(tuple(steps))) == tuple(steps)


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a[", "a[]", "a[x]", "a[-1]", "[0]", "a b", "a[0]b"])
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(PathSyntaxError):
        parse_path(text)


def test_suggestions() -> None:
    assert suggestion("hiden", ["hidden", "other"]) == " Did you mean 'hidden'?"
    assert suggestion("zz", ["b", "a"]) == " Known: a, b."
    assert suggestion("zz", []) == ""
    assert suggestion("zz", map(str, range(20))).endswith(", 19 and 8 more.")
