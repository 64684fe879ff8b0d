"""Layouts as words."""

import pytest

from adapters.prove.layouts import EVERY_LAYOUT, LayoutError, parse_layouts


def parsed(text):
    (named,) = parse_layouts(text)
    return named


def test_words_are_joined_by_x():
    named = parsed("pp2xtp2xsp")
    assert (named.layout.pp, named.layout.tp, named.layout.sequence_parallel, named.ranks) == (2, 2, True, 4)
    assert parsed("pp2xvp2").layout.virtual_stages == 2


@pytest.mark.parametrize(
    ("text", "ranks"),
    [("tp2", 2), ("ep2", 2), ("ep2xtp2", 2), ("ep4xtp2", 4), ("etp2xtp2", 2), ("pp2xep2", 4), ("dp3", 3)],
)
def test_data_parallel_ranks_are_as_few_as_experts_allow(text, ranks):
    assert parsed(text).ranks == ranks


def test_what_a_model_needs():
    assert parsed("tp2").for_model(experts=True).layout.sequence_parallel
    assert not parsed("tp2").for_model(experts=False).layout.sequence_parallel
    assert parsed("ep2").for_model(experts=False) is None


def test_every_documented_layout_runs_on_at_most_four_ranks():
    assert {named.ranks for named in parse_layouts(EVERY_LAYOUT)} == {2, 4}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tp2,tq2", "'tq2': 'tq2' is no part of a layout; there are tpN, ppN, vpN, cpN, epN, etpN, dpN, sp, do"),
        ("tp", "'tp' is no part of a layout"),
        ("sp2", "'sp2' is no part of a layout"),
        ("tp0", "'tp0' is no part of a layout"),
        ("vp2", "layout.virtual_stages: there is no pipeline"),
        ("sp", "layout.sequence_parallel: works between tensor-parallel ranks"),
        ("ep4xdp2", "experts are shared by 4 ranks, of 2 with the same layers"),
        ("dp8", "8 data-parallel ranks; the proofs have 4 samples"),
    ],
)
def test_what_is_no_layout(text, said):
    with pytest.raises(LayoutError) as error:
        parse_layouts(text)
    assert said in str(error.value)
