import pytest
from hypothesis import given
from hypothesis import strategies as st

from composer.interpolate import HfFieldError, escape, get_field, interpolate
from composer.source import parse
from composer.tree import UNRESOLVED, Tree

HF = {"a": {"b": [1, {"c": "x"}], "f": 1.5, "t": True, "n": None}, "m": "vision"}


def read(text: str, hf=HF):
    tree, problems = interpolate(Tree({"k": Tree(text, "f", 1, 4)}, "f", 1, 1), hf)
    return tree.child("k"), problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${hf.a.b[1].c}", "x"),
        ("${hf.a.b}", [1, {"c": "x"}]),
        ("${hf.a.f}", 1.5),
        ("${hf.a.n}", None),
        ("${ hf.a.t }", True),
        ("window(${hf.a.b[0]})", "window(1)"),
        ("${hf.m}-${hf.a.t}", "vision-true"),
        ("$${hf.m}", "${hf.m}"),
        ("$$${hf.m}", "$${hf.m}"),
        ("cost: $5 {x}", "cost: $5 {x}"),
    ],
)
def test_values(text: str, value: object) -> None:
    tree, problems = read(text)
    assert problems == []
    assert (type(tree.plain()), tree.plain()) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${hf.a.q}", "the configuration has no hf.a.q. Known: b, f, n, t."),
        ("${hf.a.n.x}", "the configuration has no hf.a.n.x: hf.a.n is null."),
        ("${hf.a.b[2]}", "the configuration has no hf.a.b[2]: hf.a.b is a list of 2."),
        ("${hf.a.b.c}", "the configuration has no hf.a.b.c: hf.a.b is a list of 2."),
        ("${hf.m.x}", "the configuration has no hf.m.x: hf.m is 'vision'."),
        ("x${hf.a.n}", "hf.a.n is null and has no text form: only numbers, truth values and text have."),
        ("${os.environ}", "os.environ names no field: only hf can be read. Write hf.os.environ, or plain text."),
        ("${}", "'' is no path. Join names by dots and put indices in brackets, as in a.b[2].c."),
        ("${hf.a", "'${hf.a' is not closed. Write ${hf.a}, or $${ for a literal ${."),
    ],
)
def test_problems(text: str, message: str) -> None:
    tree, problems = read(text)
    assert tree.value is UNRESOLVED
    assert [problem.message for problem in problems] == [message]
    assert [problem.path for problem in problems] == ["k"]


def test_without_configuration_there_is_nothing_to_read() -> None:
    _, problems = read("${hf.a}", None)
    assert [problem.message for problem in problems] == ["hf.a has nothing to read from: the spec has no hf section."]


def test_taken_values_remember_the_field() -> None:
    tree, _ = read("${hf.a.b}")
    assert tree.origin == "hf.a.b"
    assert tree.child(1).child("c").origin == "hf.a.b[1].c"


def test_taken_values_are_not_interpolated_again() -> None:
    tree, problems = read("${hf.s}", {"s": "${hf.s}"})
    assert (tree.plain(), problems) == ("${hf.s}", [])


@given(st.text(st.sampled_from("a${}. "), max_size=20))
def test_escaped_text_comes_back(text: str) -> None:
    tree, problems = read(escape(text))
    assert (tree.plain(), problems) == (text, [])


NAMES = st.sampled_from(["a", "b", "a_b", "layer_types"])
CONFIGS = st.recursive(
    st.sampled_from([1, "x", None]),
    lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3) | st.lists(inner, min_size=1, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(NAMES, CONFIGS, min_size=1, max_size=3), st.data())
def test_every_field_of_a_configuration_can_be_read(hf: dict[str, object], data: st.DataObject) -> None:
    name, value = "hf", hf
    while isinstance(value, dict | list) and data.draw(st.booleans()):
        if isinstance(value, dict):
            step = data.draw(st.sampled_from(sorted(value)))
            name += f".{step}"
        else:
            step = data.draw(st.integers(0, len(value) - 1))
            name += f"[{step}]"
        value = value[step]
    assert get_field(name, hf) is value
    with pytest.raises(HfFieldError):
        get_field(f"{name}.absent", hf)


def test_one_problem_per_place() -> None:
    tree = parse("a: ${hf.x}\nb: [1, '${hf.y}']\n", "f")
    _, problems = interpolate(tree, HF)
    assert [(problem.path, str(problem.location)) for problem in problems] == [("a", "f:1:4"), ("b[1]", "f:2:8")]
