import pytest

from composer.source import parse
from composer.when import ConditionError, holds, prune

HF = {"yes": 3, "no": 0, "null": None, "off": False, "mode": "vision", "n": 1, "kinds": ["full", "slide"], "empty": []}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("hf.yes", True),
        ("hf.no", False),
        ("hf.null", False),
        ("hf.off", False),
        ("hf.empty", False),
        ("not hf.yes", False),
        ("not  hf.null", True),
        ("hf.mode == vision", True),
        ("hf.mode=='vision'", True),
        ("hf.mode != vision", False),
        ("hf.null != vision", True),
        ("hf.null == null", True),
        ("hf.n == 1", True),
        ("hf.n == true", False),
        ("hf.n == '1'", False),
        ("hf.off == false", True),
        ("hf.kinds[0] == full", True),
        ("full in hf.kinds", True),
        ("half in hf.kinds", False),
        ("x in hf.mode", False),
    ],
)
def test_conditions(condition: str, expected: bool) -> None:
    assert holds(condition, HF) is expected


@pytest.mark.parametrize(
    "condition", ["", "true", "yes", "hf.", "hf.a ==", "hf.n > 0", "hf.n and hf.yes", True, None, 3]
)
def test_what_is_no_condition(condition: object) -> None:
    with pytest.raises(ConditionError):
        holds(condition, HF)


@pytest.mark.parametrize("condition", ["hf.mod", "not hf.mod", "hf.mod == 1", "x in hf.mod"])
def test_a_misspelt_field_is_no_false(condition: str) -> None:
    with pytest.raises(ConditionError, match=r"no hf.mod\. Did you mean 'mode'\?"):
        holds(condition, HF)


def test_mappings_stay_or_go_and_leave_no_trace() -> None:
    text = """
    a: {x: 1, when: hf.yes}
    b: {x: 1, when: hf.no}
    c: [{x: 1, when: hf.no}, {x: 2}, {x: 3, when: not hf.no}]
    d: {e: {when: hf.no, f: {when: hf.nothing_of_the_kind}}}
    """
    tree, problems = prune(parse(text, "f"), HF)
    assert problems == []
    assert tree.plain() == {"a": {"x": 1}, "c": [{"x": 2}, {"x": 3}], "d": {}}


def test_an_undecidable_mapping_stays_and_is_reported() -> None:
    tree, problems = prune(parse("a: {x: 1, when: perhaps}\n", "f"), HF)
    assert tree.plain() == {"a": {"x": 1}}
    assert [(problem.path, str(problem.location)) for problem in problems] == [("a.when", "f:1:17")]


def test_the_document_itself_has_no_condition() -> None:
    tree, problems = prune(parse("when: hf.no\nb: 1\n", "f"), HF)
    assert (tree.plain(), problems) == ({"when": "hf.no", "b": 1}, [])
