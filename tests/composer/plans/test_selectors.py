"""Selectors: what each word selects, how signs bind, the algebra against Python's sets, and texts that are none."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composer.plans.freeze import scope_of
from composer.plans.selector_parser import SelectorSyntaxError, parse_selector
from composer.plans.selectors import Difference, Intersection, Union
from tests.composer.plans.small_model import LAYERS, NODES, SCOPE, small_model

MODEL = small_model()
KNOWN = scope_of(MODEL, SCOPE)
ALL = frozenset(parameter.name for parameter in MODEL.parameters)


def select(text: str) -> frozenset[str]:
    return parse_selector(text).select(MODEL.parameters, KNOWN)


def in_layers(*layers: int) -> frozenset[str]:
    return frozenset(parameter.name for parameter in MODEL.parameters if parameter.layer in layers)


def fitting(pattern: str) -> frozenset[str]:
    return frozenset(name for name in ALL if fnmatchcase(name, pattern))


LEAVES = {
    "all": ALL,
    "none": frozenset(),
    "eye": fitting("eye.*"),
    "node(ear)": fitting("ear.*"),
    "tower": fitting("eye.*") | fitting("ear.*"),
    "role(tower)": fitting("eye.*") | fitting("ear.*"),
    "projector": fitting("bridge.*"),
    "decoder": fitting("decoder.*"),
    "embeddings": fitting("decoder.embedding.weight"),
    "head": fitting("decoder.output_layer.weight"),
    "experts": fitting("*.local_experts.*"),
    "router": fitting("*.router.*"),
    "norms": fitting("*norm.weight"),
    "layers(0)": in_layers(0),
    "layers(0..1)": in_layers(0, 1),
    "layers(-2..)": in_layers(2, 3),
    "layers(..-2)": in_layers(0, 1, 2),
    "layers(-1, 0)": in_layers(0, 3),
    "layers(1..-2)": in_layers(1, 2),
    "*.q_norm.*": fitting("*.q_norm.*"),
    '"*.q_norm.*"': fitting("*.q_norm.*"),
    "'eye.*'": fitting("eye.*"),
    'glob("*.layers.[12].*")': fitting("*.layers.[12].*"),
    "glob(eye.*)": fitting("eye.*"),
    "decoder.embedding.weight": fitting("decoder.embedding.weight"),
}


@pytest.mark.parametrize("text", LEAVES)
def test_a_word_selects(text: str) -> None:
    assert select(text) == LEAVES[text]
    assert text == "none" or LEAVES[text]


def test_every_word_of_the_test_selects_something_else_than_everything() -> None:
    assert all(names < ALL for text, names in LEAVES.items() if text != "all")


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("tower | norms & decoder", "tower | (norms & decoder)"),
        ("all - tower | eye", "(all - tower) | eye"),
        ("decoder - norms & layers(0)", "decoder - (norms & layers(0))"),
        ("all - decoder - bridge", "(all - decoder) - bridge"),
        ("all except tower | projector", "all - (tower | projector)"),
        ("all except decoder except bridge", "(all - decoder) - bridge"),
        ("decoder | tower except norms", "(decoder | tower) - norms"),
        ("all-tower", "all - tower"),
    ],
)
def test_how_signs_bind(text: str, same: str) -> None:
    assert parse_selector(text) == parse_selector(same)


def trees(leaves: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, frozenset[str]]]:
    """Texts with parentheses everywhere, each with the set that Python's operators make of it."""
    signs = {"|": frozenset.union, "&": frozenset.intersection, "-": frozenset.difference}
    signs["except"] = frozenset.difference

    def joined(sides: st.SearchStrategy[tuple[str, frozenset[str]]]) -> st.SearchStrategy[tuple[str, frozenset[str]]]:
        return st.builds(
            lambda left, sign, right: (f"({left[0]}) {sign} ({right[0]})", signs[sign](left[1], right[1])),
            sides,
            st.sampled_from([*signs]),
            sides,
        )

    return st.recursive(leaves.map(lambda text: (text, LEAVES[text])), joined, max_leaves=12)


@given(trees(st.sampled_from([*LEAVES])))
def test_the_algebra_is_that_of_sets(tree: tuple[str, frozenset[str]]) -> None:
    text, expected = tree
    assert select(text) == expected


@given(trees(st.sampled_from([*LEAVES])))
def test_text_of_a_selector_is_read_back_as_the_same(tree: tuple[str, frozenset[str]]) -> None:
    selector = parse_selector(tree[0])
    assert parse_selector(str(selector)) == selector


@given(trees(st.sampled_from([*LEAVES])), st.sets(st.sampled_from(sorted(ALL))))
def test_a_rank_gets_its_share(tree: tuple[str, frozenset[str]], held: set[str]) -> None:
    """A selector says of one parameter at a time whether it is meant."""
    own = [parameter for parameter in MODEL.parameters if parameter.name in held]
    assert parse_selector(tree[0]).select(own, KNOWN) == tree[1] & held


UNSIGNED = st.recursive(
    st.sampled_from([*LEAVES]).map(parse_selector),
    lambda sides: st.builds(
        lambda kind, a, b: kind(a, b), st.sampled_from([Union, Difference, Intersection]), sides, sides
    ),
    max_leaves=10,
)


@given(UNSIGNED)
def test_only_parentheses_that_are_needed_are_written(selector: object) -> None:
    assert parse_selector(str(selector)) == selector


@given(st.text(alphabet="allortwexcp()|&-.*\"'0123, _", max_size=40))
def test_any_text_is_a_selector_or_a_syntax_error_with_a_column_in_it(text: str) -> None:
    column = 1
    try:
        parse_selector(text)
    except SelectorSyntaxError as error:
        column = error.column
    assert 1 <= column <= len(text) + 1


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "a selector is expected, but the text ends here"),
        ("tower |", 8, "a selector is expected, but the text ends here"),
        ("all and eye", 5, "write & for and"),
        ("not tower", 1, "write all - for not"),
        ("~tower", 1, "write all - for ~"),
        ("(all - eye", 1, "( is never closed"),
        ("all - eye)", 10, "this ) closes nothing"),
        ("all eye", 5, "|, -, & or except is expected before eye"),
        ("eye, ear", 4, "write | for ,"),
        ("layers()", 8, "layers takes layers, as in layers(0..3) or layers(-4..), not )"),
        ("layers(..)", 8, "a range needs a first or a last layer: all layers are `layers(0..)`"),
        ("layers(0:3)", 9, ") is expected, not : (a range is written 0..3, both ends included)"),
        ("all - layers(0..3", 7, "layers( is never closed"),
        ("layers(-0..)", 8, "-0 is no layer: the last is -1, the first 0"),
        ("glob()", 6, 'glob takes a pattern, as in glob("*.q_norm.*"), not )'),
        ('all - "*.q', 7, 'the quotation mark " is never closed'),
        ('""', 1, "an empty pattern fits no parameter"),
        ("layer(3)", 1, "layer takes nothing in parentheses. Did you mean 'layers'?"),
        ("role(towr)", 6, "towr is no role or part. Did you mean 'tower'?"),
        ("node()", 6, "node takes a name, not )"),
        ("(" * 60 + "all", 51, "more than 50 parentheses inside each other"),
    ],
)
def test_texts_that_are_none(text: str, column: int, message: str) -> None:
    with pytest.raises(SelectorSyntaxError) as caught:
        parse_selector(text)
    assert (caught.value.column, caught.value.message) == (column, message)


def test_layers_of_the_test_are_what_the_inventory_has() -> None:
    assert KNOWN.layers == LAYERS
    assert KNOWN.nodes == NODES
