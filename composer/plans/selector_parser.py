"""Selectors from text.

selector   = union { "except" union }
union      = difference { "|" difference }
difference = both { "-" both }
both       = term { "&" term }
term       = "(" selector ")" | "layers" "(" span { "," span } ")" | "glob" "(" text ")" | "node" "(" name ")"
           | "role" "(" word ")" | name | text
span       = integer | [ integer ] ".." [ integer ]
text       = in quotes of either kind, or a bare word with a dot, a * or a ? in it: a parameter's name, or a pattern
"""

import re
from typing import NoReturn

from composer.plans.selectors import (
    PARTS,
    ROLES,
    WORDS,
    Difference,
    Glob,
    Intersection,
    Layers,
    Name,
    Selector,
    Span,
    Union,
    Word,
)
from composer.suggestion import suggestion

_SYMBOL = re.compile(
    r"""\s*(?:(?P<quoted>"[^"]*"|'[^']*')
    |(?P<pattern>[A-Za-z0-9_*?]*(?:[A-Za-z_*?]\.|\.[A-Za-z_*?]|[*?])[A-Za-z0-9_.*?]*)
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>[0-9]+)|(?P<sign>\.\.|[&|()\-,])|(?P<other>\S))""",
    re.VERBOSE,
)
_CALLS = ("layers", "glob", "node", "role")
_OTHER_WORDS = {"and": "&", "or": "|", "not": "all -", "minus": "-", "+": "|", "~": "all -"}
_MAX_SYMBOLS = 400
_MAX_DEPTH = 50
_MAX_DIGITS = 6


class SelectorSyntaxError(ValueError):
    """A text is no selector. `column` counts characters from 1; one past the end if something is missing there."""

    def __init__(self, message: str, text: str, column: int) -> None:
        super().__init__(f"column {column}: {message}")
        self.message = message
        self.text = text
        self.column = column


def parse_selector(text: str) -> Selector:
    """The selector a text says. Names of nodes are taken as they are: see `composer.plans.selector_checks`.

    Raises:
        SelectorSyntaxError: it is none, or an unreasonably long one.
    """
    parser = _Parser(text)
    selector = parser.selector()
    if parser.symbol:
        parser.fail(parser.after())
    return selector


class _Parser:
    """A recursive descent with one symbol of look-ahead."""

    def __init__(self, text: str) -> None:
        self.text = text
        found = _SYMBOL.finditer(text)
        self.symbols = [(m[m.lastgroup or 0], m.lastgroup, m.start(m.lastgroup or 0) + 1) for m in found]
        self.symbols.append(("", "end", len(text.rstrip()) + 1))
        self.next = 0
        self.depth = 0
        if len(self.symbols) > _MAX_SYMBOLS:
            self.fail(f"more than {_MAX_SYMBOLS} words and signs in one selector", self.symbols[_MAX_SYMBOLS][2])

    @property
    def symbol(self) -> str:
        return self.symbols[self.next][0]

    @property
    def kind(self) -> str | None:
        return self.symbols[self.next][1]

    @property
    def column(self) -> int:
        return self.symbols[self.next][2]

    def fail(self, message: str, column: int | None = None) -> NoReturn:
        raise SelectorSyntaxError(message, self.text, self.column if column is None else column)

    def skip(self, symbol: str) -> bool:
        found = self.symbol == symbol
        self.next += found
        return found

    def selector(self) -> Selector:
        selector = self.union()
        while self.skip("except"):
            selector = Difference(selector, self.union())
        return selector

    def union(self) -> Selector:
        selector = self.difference()
        while self.skip("|"):
            selector = Union(selector, self.difference())
        return selector

    def difference(self) -> Selector:
        selector = self.both()
        while self.skip("-"):
            selector = Difference(selector, self.both())
        return selector

    def both(self) -> Selector:
        selector = self.term()
        while self.skip("&"):
            selector = Intersection(selector, self.term())
        return selector

    def term(self) -> Selector:
        start = self.column
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            self.fail(f"more than {_MAX_DEPTH} parentheses inside each other")
        if self.skip("("):
            selector = self.selector()
            self.close("(", start)
        else:
            selector = self.leaf()
        self.depth -= 1
        return selector

    def leaf(self) -> Selector:
        symbol, kind, column = self.symbols[self.next]
        if symbol in _OTHER_WORDS:
            self.fail(f"write {_OTHER_WORDS[symbol]} for {symbol}")
        if symbol in {'"', "'"}:
            self.fail(f"the quotation mark {symbol} is never closed")
        if kind not in {"word", "pattern", "quoted"} or symbol == "except":
            self.fail(f"a selector is expected{self.instead()}")
        self.next += 1
        if kind == "quoted":
            return self.pattern(symbol[1:-1], column)
        if kind == "pattern":
            return Glob(symbol, column=column)
        if self.symbol == "(":
            return self.call(symbol, column)
        return Word(symbol, column=column) if symbol in WORDS else Name(symbol, column=column)

    def call(self, name: str, column: int) -> Selector:
        if name not in _CALLS:
            self.fail(f"{name} takes nothing in parentheses.{suggestion(name, _CALLS)}", column)
        self.next += 1
        if name == "layers":
            selector: Selector = self.layers(column)
        elif name == "glob":
            selector = self.glob(column)
        else:
            selector = self.named(name, column)
        self.close(f"{name}(", column)
        return selector

    def layers(self, column: int) -> Layers:
        spans = [self.span()]
        while self.skip(","):
            spans.append(self.span())
        return Layers(tuple(spans), column=column)

    def span(self) -> Span:
        start = self.column
        first = self.integer()
        if not self.skip(".."):
            if first is None:
                self.fail(f"layers takes layers, as in layers(0..3) or layers(-4..){self.instead()}")
            return Span(first, first)
        last = self.integer()
        if first is None and last is None:
            self.fail("a range needs a first or a last layer: all layers are `layers(0..)`", start)
        return Span(first, last)

    def integer(self) -> int | None:
        negative = self.skip("-")
        if self.kind != "number":
            if negative:
                self.fail(f"a number of a layer is expected after -{self.instead()}")
            return None
        if len(self.symbol) > _MAX_DIGITS:
            self.fail(f"{self.symbol[:20]} is no number of a layer")
        value = int(self.symbol)
        self.next += 1
        if negative and value == 0:
            self.fail("-0 is no layer: the last is -1, the first 0", self.symbols[self.next - 2][2])
        return -value if negative else value

    def glob(self, column: int) -> Glob:
        symbol, kind, at = self.symbols[self.next]
        if kind not in {"quoted", "pattern", "word"}:
            self.fail(f'glob takes a pattern, as in glob("*.q_norm.*"){self.instead()}')
        self.next += 1
        pattern = self.pattern(symbol[1:-1] if kind == "quoted" else symbol, at)
        return Glob(pattern.pattern, column=column)

    def pattern(self, text: str, column: int) -> Glob:
        if not text.strip():
            self.fail("an empty pattern fits no parameter", column)
        return Glob(text, column=column)

    def named(self, call: str, column: int) -> Selector:
        symbol, kind, at = self.symbols[self.next]
        if kind != "word":
            self.fail(f"{call} takes a name{self.instead()}")
        self.next += 1
        if call == "node":
            return Name(symbol, True, column=column)
        known = (*ROLES, *PARTS)
        if symbol not in known:
            self.fail(f"{symbol} is no role or part.{suggestion(symbol, known)}", at)
        return Word(symbol, True, column=column)

    def close(self, opening: str, start: int) -> None:
        if self.skip(")"):
            return
        if not self.symbol:
            self.fail(f"{opening} is never closed", start)
        dots = " (a range is written 0..3, both ends included)" if opening == "layers(" else ""
        self.fail(f") is expected, not {self.symbol}{dots}")

    def after(self) -> str:
        if self.symbol == ")":
            return "this ) closes nothing"
        if self.symbol in _OTHER_WORDS:
            return f"write {_OTHER_WORDS[self.symbol]} for {self.symbol}"
        if self.symbol == ",":
            return "write | for ,"
        return f"|, -, & or except is expected before {self.symbol}"

    def instead(self) -> str:
        return f", not {self.symbol}" if self.symbol else ", but the text ends here"
