"""Mask rules from text.

rule = all { "|" all }
all  = term { "&" term }
term = "~" term | "(" rule ")" | name [ "(" argument { "," argument } ")" ]
"""

import re
from typing import NoReturn

from composer.masks.rules import And, Bidirectional, Causal, Chunk, Not, Or, Prefix, Rule, SameDocument, SameRun, Window
from composer.suggestion import suggestion

_SYMBOL = re.compile(r"\s*(?:([A-Za-z_][A-Za-z0-9_-]*)|([0-9]+)(?![A-Za-z0-9_])|([~&|(),])|(\S))")
_PLAIN: dict[str, Rule] = {"causal": Causal(), "bidirectional": Bidirectional(), "same_document": SameDocument()}
_SIZED: dict[str, type[Window | Chunk]] = {"window": Window, "chunk": Chunk}
_NAMED = ("same_run", "prefix")
_RULES = (*_PLAIN, *_SIZED, *_NAMED)
_OTHER_WORDS = {"and": "&", "or": "|", "not": "~"}
_MAX_SYMBOLS = 400
_MAX_DEPTH = 50
_MAX_DIGITS = 12


class MaskSyntaxError(ValueError):
    """A text is no mask rule. `column` counts characters from 1; one past the end if something is missing there."""

    def __init__(self, message: str, text: str, column: int) -> None:
        super().__init__(f"column {column}: {message}")
        self.message = message
        self.text = text
        self.column = column


def parse(text: str) -> Rule:
    """The rule a text says.

    Raises:
        MaskSyntaxError: it is no rule, or an unreasonably long one.
    """
    parser = _Parser(text)
    rule = parser.rule()
    if parser.symbol:
        parser.fail(parser.after_rule())
    return rule


class _Parser:
    """A recursive descent with one symbol of look-ahead."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.symbols = [(m[m.lastindex or 0], m.start(m.lastindex or 0) + 1) for m in _SYMBOL.finditer(text)]
        self.symbols.append(("", len(text.rstrip()) + 1))
        self.next = 0
        self.depth = 0
        if len(self.symbols) > _MAX_SYMBOLS:
            self.fail(f"more than {_MAX_SYMBOLS} words and signs in one rule", self.symbols[_MAX_SYMBOLS][1])

    @property
    def symbol(self) -> str:
        return self.symbols[self.next][0]

    @property
    def column(self) -> int:
        return self.symbols[self.next][1]

    def fail(self, message: str, column: int | None = None) -> NoReturn:
        raise MaskSyntaxError(message, self.text, self.column if column is None else column)

    def skip(self, symbol: str) -> bool:
        found = self.symbol == symbol
        self.next += found
        return found

    def rule(self) -> Rule:
        rule = self.all()
        while self.skip("|"):
            rule = Or(rule, self.all())
        return rule

    def all(self) -> Rule:
        rule = self.term()
        while self.skip("&"):
            rule = And(rule, self.term())
        return rule

    def term(self) -> Rule:
        start = self.column
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            self.fail(f"more than {_MAX_DEPTH} parentheses and ~ inside each other")
        if self.skip("~"):
            rule: Rule = Not(self.term())
        elif self.skip("("):
            rule = self.rule()
            if not self.skip(")"):
                self.fail(*self._unclosed("(", start))
        else:
            rule = self.leaf()
        self.depth -= 1
        return rule

    def leaf(self) -> Rule:
        name, column = self.symbol, self.column
        if name in _OTHER_WORDS:
            self.fail(f"write {_OTHER_WORDS[name]} for {name}")
        if name == "!":
            self.fail("write ~ for !")
        if not (name[:1].isalpha() or name[:1] == "_"):
            self.fail(f"a rule is expected{self._instead()}")
        if name not in _RULES:
            self.fail(f"unknown rule {name!r}.{suggestion(name, _RULES)}")
        self.next += 1
        if name in _PLAIN:
            if self.symbol == "(":
                self.fail(f"{name} takes no arguments")
            return _PLAIN[name]
        if not self.skip("("):
            self.fail(f"{name} needs {'a number of tokens' if name in _SIZED else 'token names'} in parentheses")
        if name in _SIZED:
            rule: Rule = _SIZED[name](self.size(name))
        else:
            rule = self.named(name)
        if not self.skip(")"):
            self.fail(*self._unclosed(f"{name}(", column))
        return rule

    def size(self, name: str) -> int:
        text = self.symbol
        if not text.isdecimal():
            self.fail(f"{name} takes a number of tokens{self._instead()}")
        if len(text) > _MAX_DIGITS or int(text) < 1:
            self.fail(f"{name} takes a number of tokens from 1 on, not {text[:20]}")
        self.next += 1
        return int(text)

    def named(self, name: str) -> Rule:
        names = [self.token_name(name)]
        while name == "same_run" and self.skip(","):
            if self.symbol in names:
                self.fail(f"{self.symbol} is named twice")
            names.append(self.token_name(name))
        return SameRun(tuple(names)) if name == "same_run" else Prefix(names[0])

    def token_name(self, name: str) -> str:
        text = self.symbol
        if not (text[:1].isalpha() or text[:1] == "_"):
            self.fail(f"{name} takes token names{self._instead()}")
        self.next += 1
        return text

    def after_rule(self) -> str:
        if self.symbol == ")":
            return "this ) closes nothing"
        if self.symbol in _OTHER_WORDS:
            return f"write {_OTHER_WORDS[self.symbol]} for {self.symbol}"
        return f"& or | is expected before {self.symbol}"

    def _unclosed(self, opening: str, start: int) -> tuple[str, int]:
        if not self.symbol:
            return f"{opening} is never closed", start
        return f") is expected, not {self.symbol}", self.column

    def _instead(self) -> str:
        return f", not {self.symbol}" if self.symbol else ", but the rule ends here"
