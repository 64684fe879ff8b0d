"""Patterns stand for exactly the names they were folded from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composer.plans.name_patterns import PatternError, expand, fold
from tests.composer.plans.small_model import small_model

NAMES = st.builds(
    lambda *steps: ".".join(map(str, steps)),
    st.sampled_from(["a", "layers", "0"]),
    st.integers(0, 4),
    st.sampled_from(["weight", "experts", "01", "0", "x2"]),
    st.integers(0, 3),
)


@given(st.sets(st.one_of(NAMES, NAMES.map(lambda name: name + ".bias"))))
def test_folded_names_come_back_and_no_other(names: set[str]) -> None:
    assert expand(fold(sorted(names))) == names


@given(st.lists(NAMES, unique=True))
def test_no_name_is_in_two_patterns(names: list[str]) -> None:
    patterns = fold(names)
    assert sum(len(expand([pattern])) for pattern in patterns) == len(names)


def test_numbers_fold_into_ranges_in_the_order_of_first_names() -> None:
    names = [parameter.name for parameter in small_model().parameters if parameter.layer != 1]
    assert fold(names)[6:11] == (
        "decoder.embedding.weight",
        "decoder.layers.{0,2..3}.input_layernorm.weight",
        "decoder.layers.{0,2..3}.self_attention.linear_qkv.weight",
        "decoder.layers.{0,2..3}.self_attention.q_norm.weight",
        "decoder.layers.{0,2..3}.mlp.router.weight",
    )
    assert "decoder.layers.{0,2..3}.mlp.experts.local_experts.{0..1}.linear_fc1.weight" in fold(names)


def test_what_is_no_product_stays_in_several_patterns() -> None:
    assert fold(["a.0.b.0", "a.0.b.1", "a.1.b.0"]) == ("a.0.b.{0..1}", "a.1.b.0")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a.{0..x}", "'a.{0..x}': braces hold numbers and ranges, as in {0..3,7}"),
        ("a.{}", "'a.{}': '' is no number and no range"),
        ("a.{3..1}", "'a.{3..1}': the range 3..1 runs backwards"),
        ("a.{01}", "'a.{01}': '01' is no number and no range"),
        ("a.{0..99999999999}", "'a.{0..99999999999}': 0..99999999999 stands for more than 10000000 numbers"),
        ("{0..9999}.{0..9999}", "'{0..9999}.{0..9999}': stands for more than 10000000 names"),
    ],
)
def test_patterns_that_are_none(pattern: str, message: str) -> None:
    with pytest.raises(PatternError) as caught:
        expand([pattern])
    assert str(caught.value) == message


def test_a_name_with_braces_is_refused() -> None:
    with pytest.raises(PatternError, match="with braces"):
        fold(["a.{0}"])
