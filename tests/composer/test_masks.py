"""The mask algebra: text to rules and back, and what rules mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composer.masks import (
    And,
    Bidirectional,
    Causal,
    Chunk,
    Layout,
    MaskSyntaxError,
    Not,
    Or,
    Prefix,
    Rule,
    SameDocument,
    SameRun,
    Window,
    allowed,
    parse,
    tokens,
)

NAMES = st.sampled_from(["image", "video", "audio", "_x", "end-of-turn", "causal"])
LEAVES = st.one_of(
    st.sampled_from([Causal(), Bidirectional(), SameDocument()]),
    st.builds(Window, st.integers(1, 12)),
    st.builds(Chunk, st.integers(1, 12)),
    st.builds(SameRun, st.lists(NAMES, min_size=1, max_size=3, unique=True)),
    st.builds(Prefix, NAMES),
)
RULES = st.recursive(
    LEAVES, lambda rule: st.builds(Not, rule) | st.builds(And, rule, rule) | st.builds(Or, rule, rule), max_leaves=12
)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    length = draw(st.integers(1, 14))
    names = draw(st.lists(st.sampled_from([None, "image", "video"]), min_size=length, max_size=length))
    borders = draw(st.lists(st.booleans(), min_size=length, max_size=length))
    documents = [sum(borders[: position + 1]) for position in range(length)]
    return Layout(tuple(names), tuple(documents))


def table(rule: Rule, layout: Layout) -> list[list[bool]]:
    places = range(len(layout.tokens))
    return [[allowed(rule, query, key, layout) for key in places] for query in places]


@given(RULES)
def test_text_of_a_rule_is_that_rule(rule: Rule) -> None:
    assert parse(str(rule)) == rule
    assert hash(parse(str(rule))) == hash(rule)


@given(RULES)
def test_no_parentheses_can_be_left_out(rule: Rule) -> None:
    text = str(rule)
    for start, letter in enumerate(text):
        if letter == "(" and (start == 0 or text[start - 1] in " ~("):
            end = _closing(text, start)
            shorter = f"{text[:start]}{text[start + 1 : end]}{text[end + 1 :]}"
            assert parse(shorter) != rule


def _closing(text: str, start: int) -> int:
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] == "(") - (text[position] == ")")
        if depth == 0:
            return position
    raise AssertionError(text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("causal | bidirectional & causal", Or(Causal(), And(Bidirectional(), Causal()))),
        ("causal & bidirectional | causal", Or(And(Causal(), Bidirectional()), Causal())),
        ("~causal & causal", And(Not(Causal()), Causal())),
        ("~(causal & causal)", Not(And(Causal(), Causal()))),
        ("causal | causal | bidirectional", Or(Or(Causal(), Causal()), Bidirectional())),
        ("causal & (causal & causal)", And(Causal(), And(Causal(), Causal()))),
        (" window ( 3 )&same_run(image,video) ", And(Window(3), SameRun(("image", "video")))),
        ("prefix(causal)", Prefix("causal")),
    ],
)
def test_not_binds_tighter_than_and_tighter_than_or(text: str, rule: Rule) -> None:
    assert parse(text) == rule


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "a rule is expected, but the rule ends here"),
        ("casual", 1, "unknown rule 'casual'. Did you mean 'causal'?"),
        ("causal & windw(4)", 10, "unknown rule 'windw'. Did you mean 'window'?"),
        ("causal &", 9, "a rule is expected, but the rule ends here"),
        ("causal causal", 8, "& or | is expected before causal"),
        ("causal and causal", 8, "write & for and"),
        ("not causal", 1, "write ~ for not"),
        ("!causal", 1, "write ~ for !"),
        ("causal)", 7, "this ) closes nothing"),
        ("~(causal", 2, "( is never closed"),
        ("(causal causal)", 9, ") is expected, not causal"),
        ("causal()", 7, "causal takes no arguments"),
        ("window", 7, "window needs a number of tokens in parentheses"),
        ("window(", 8, "window takes a number of tokens, but the rule ends here"),
        ("window(4", 1, "window( is never closed"),
        ("window(image)", 8, "window takes a number of tokens, not image"),
        ("window(0)", 8, "window takes a number of tokens from 1 on, not 0"),
        ("window(4, 5)", 9, ") is expected, not ,"),
        ("same_run()", 10, "same_run takes token names, not )"),
        ("same_run(image, image)", 17, "image is named twice"),
        ("prefix(4)", 8, "prefix takes token names, not 4"),
        ("same_run", 9, "same_run needs token names in parentheses"),
        ("causal $", 8, "& or | is expected before $"),
        ("~" * 60 + "causal", 51, "more than 50 parentheses and ~ inside each other"),
        ("causal" + " & causal" * 300, 1801, "more than 400 words and signs in one rule"),
    ],
)
def test_syntax_errors_name_the_column(text: str, column: int, message: str) -> None:
    with pytest.raises(MaskSyntaxError) as caught:
        parse(text)
    assert (caught.value.column, caught.value.message) == (column, message)
    assert str(caught.value) == f"column {column}: {message}"
    assert caught.value.text == text


@given(st.text(alphabet="causlwindo&|~(), 0123_é$\n"))
def test_any_text_is_a_rule_or_a_syntax_error_inside_it(text: str) -> None:
    try:
        rule: Rule | None = parse(text)
        column = 1
    except MaskSyntaxError as error:
        rule, column = None, error.column
    assert 1 <= column <= len(text) + 1
    assert rule is None or parse(str(rule)) == rule


@pytest.mark.parametrize(
    "make",
    [
        lambda: Window(0),
        lambda: Chunk(True),
        lambda: SameRun(()),
        lambda: SameRun(("a", "a")),
        lambda: SameRun(("a b",)),
        lambda: Prefix("1"),
    ],
)
def test_rules_that_could_not_be_printed_cannot_be_made(make: object) -> None:
    with pytest.raises(ValueError, match=r"Window|Chunk|SameRun|Prefix"):
        make()


def test_tokens_are_named_once_in_order() -> None:
    assert tokens(parse("same_run(video, image) | ~prefix(end) & same_run(image)")) == ("video", "image", "end")


def test_a_window_limits_a_run_but_nothing_later() -> None:
    layout = Layout((None, "image", "image", "image", None))
    rule = parse("(causal | same_run(image, video)) & window(2)")
    drawn = ["".join("x" if seen else "." for seen in row) for row in table(rule, layout)]
    assert drawn == ["x....", "xxxx.", ".xxx.", "..xx.", "...xx"]


def test_a_run_ends_at_a_document_border() -> None:
    layout = Layout(("image", "video", "image", "image"), (0, 0, 1, 1))
    drawn = ["".join("x" if seen else "." for seen in row) for row in table(SameRun(("image", "video")), layout)]
    assert drawn == ["xx..", "xx..", "..xx", "..xx"]


def test_chunks_start_anew_with_every_document() -> None:
    layout = Layout((None,) * 5, (0, 0, 0, 1, 1))
    drawn = ["".join("x" if seen else "." for seen in row) for row in table(Chunk(2), layout)]
    assert drawn == ["xx...", "xx...", "..x..", "...xx", "...xx"]


def test_a_prefix_ends_with_the_last_token_of_its_document() -> None:
    layout = Layout((None, "end", None, "end", None, None), (0, 0, 0, 0, 0, 1))
    drawn = ["".join("x" if seen else "." for seen in row) for row in table(Prefix("end"), layout)]
    assert drawn == ["xxxx..", "xxxx..", "xxxx..", "xxxx..", "......", "......"]


@given(RULES, RULES, layouts())
def test_connectives_are_those_of_logic(left: Rule, right: Rule, layout: Layout) -> None:
    assert table(Not(Not(left)), layout) == table(left, layout)
    assert table(Not(And(left, right)), layout) == table(Or(Not(left), Not(right)), layout)
    assert table(Or(left, right), layout) == table(Or(right, left), layout)
    rows = zip(table(left, layout), table(right, layout), strict=True)
    assert table(And(left, right), layout) == [[a and b for a, b in zip(*row, strict=True)] for row in rows]


@given(layouts())
def test_symmetric_rules_are_symmetric_and_causal_is_not_later(layout: Layout) -> None:
    for rule in (SameRun(("image",)), SameDocument(), Chunk(3), Prefix("image"), Bidirectional()):
        rows = table(rule, layout)
        assert rows == [list(column) for column in zip(*rows, strict=True)]
    assert table(And(Causal(), Window(1)), layout) == [
        [query == key for key in range(len(layout.tokens))] for query in range(len(layout.tokens))
    ]


@given(layouts())
def test_runs_are_those_counted_from_left_to_right(layout: Layout) -> None:
    run, runs = 0, []
    for position, name in enumerate(layout.tokens):
        goes_on = (
            position and layout.tokens[position - 1] and layout.documents[position - 1] == layout.documents[position]
        )
        run += not (name and goes_on)
        runs.append(run if name else None)
    expected = [[a is not None and a == b for b in runs] for a in runs]
    assert table(SameRun(("image", "video")), layout) == expected


def test_a_layout_has_a_document_for_every_token() -> None:
    with pytest.raises(ValueError, match="2 document numbers for 1 tokens"):
        Layout((None,), (0, 0))
