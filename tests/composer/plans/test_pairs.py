"""Pairs that a rule allows, counted without a mask, beside the oracle that spells out every pair."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composer.masks import (
    And,
    Bidirectional,
    Causal,
    Chunk,
    Layout,
    Not,
    Or,
    Prefix,
    Rule,
    SameDocument,
    SameRun,
    Window,
    allowed,
    parse,
)
from composer.plans.pairs import Sequence, allowed_pairs, is_causal, reached_pairs

LEAVES = st.one_of(
    st.sampled_from([Causal(), Bidirectional(), SameDocument()]),
    st.builds(Window, st.integers(1, 12)),
    st.builds(Chunk, st.integers(1, 12)),
    st.builds(SameRun, st.lists(st.sampled_from(["image", "video"]), min_size=1, max_size=2, unique=True)),
    st.builds(Prefix, st.sampled_from(["image", "video"])),
)
RULES = st.recursive(
    LEAVES, lambda rule: st.builds(Not, rule) | st.builds(And, rule, rule) | st.builds(Or, rule, rule), max_leaves=6
)


@st.composite
def sequences(draw: st.DrawFn) -> Sequence:
    images, image_tokens = draw(st.integers(0, 4)), draw(st.integers(1, 4))
    return Sequence(images * image_tokens + draw(st.integers(1, 12)), images, image_tokens)


def spelled_out(sequence: Sequence) -> Layout:
    tokens: list[str | None] = [None] * sequence.seq
    for start, stop in sequence.runs:
        tokens[start:stop] = [sequence.placeholder] * (stop - start)
    return Layout(tuple(tokens))


def table(rule: Rule, sequence: Sequence) -> list[list[bool]]:
    layout, places = spelled_out(sequence), range(sequence.seq)
    return [[allowed(rule, query, key, layout) for key in places] for query in places]


@settings(max_examples=300, deadline=None)
@given(RULES, sequences())
def test_as_many_pairs_as_the_oracle_allows(rule: Rule, sequence: Sequence):
    assert allowed_pairs(rule, sequence) == sum(map(sum, table(rule, sequence)))


@settings(max_examples=200, deadline=None)
@given(RULES, sequences(), st.integers(1, 7))
def test_a_block_reaches_from_its_first_key_to_its_last(rule: Rule, sequence: Sequence, block: int):
    rows, expected = table(rule, sequence), 0
    for first in range(0, sequence.seq, block):
        queries = range(first, min(first + block, sequence.seq))
        keys = [key for query in queries for key, seen in enumerate(rows[query]) if seen] + list(queries)
        expected += len(queries) * (max(keys) + 1 - min(keys))
    assert reached_pairs(rule, sequence, block) == expected


@given(sequences())
def test_every_image_has_its_placeholders(sequence: Sequence):
    assert spelled_out(sequence).tokens.count("image") == sequence.images * sequence.image_tokens


def test_images_are_spread_evenly():
    assert Sequence(18, 2, 3).runs == ((4, 7), (11, 14))
    assert Sequence(6, 2, 3).runs == ((0, 6),)


def test_more_images_than_fit():
    with pytest.raises(ValueError, match="5 images of 256 tokens do not fit into a sequence of 1024: at most 4 do"):
        Sequence(1024, 5, 256)


def test_closed_forms():
    seq, window = 131_072, 1024
    assert allowed_pairs(parse("causal"), Sequence(seq)) == seq * (seq + 1) // 2
    sliding = window * (window + 1) // 2 + (seq - window) * window
    assert allowed_pairs(parse(f"causal & window({window})"), Sequence(seq)) == sliding


def test_long_sequences_take_milliseconds():
    rule = parse("(causal | same_run(image, video)) & window(1024)")
    begin = time.process_time()
    allowed_pairs(rule, Sequence(131_072, 100, 257))
    reached_pairs(rule, Sequence(131_072, 100, 257), 512)
    assert time.process_time() - begin < 0.1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("causal", True),
        ("causal & window(8)", True),
        ("window(8) & same_document & causal", True),
        ("window(8)", False),
        ("causal | same_run(image)", False),
        ("(causal | same_run(image)) & window(8)", False),
        ("causal & chunk(8)", False),
    ],
)
def test_what_fused_kernels_know(text: str, expected: bool):
    assert is_causal(parse(text)) == expected
