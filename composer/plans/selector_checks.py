"""What is wrong with a selector: what its text alone shows, and what it selects in a model."""

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from attrs import frozen

from composer.plans.inventory import Inventory, Parameter
from composer.plans.selector_parser import SelectorSyntaxError, parse_selector
from composer.plans.selectors import PARTS, ROLES, WORDS, Glob, Layers, Leaf, Name, Scope, Selector, Word
from composer.suggestion import nearest, suggestion

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


@frozen
class Fault:
    """One thing wrong with a selector; column: of its text, from 1."""

    column: int
    message: str


def read_selector(text: str, scope: Scope) -> tuple[Selector | None, list[Fault]]:
    """A selector as far as it can be read, and what is wrong with it whatever the parameters are.

    That is: its syntax, names of no node, words that are also names of nodes, layers that the decoder does not have.
    """
    try:
        selector = parse_selector(text)
    except SelectorSyntaxError as error:
        stop = "" if error.message.endswith(("?", ".")) else "."
        return None, [Fault(error.column, f"no selector: {error.message}{stop}")]
    faults = [Fault(leaf.column, message) for leaf in selector.leaves() if (message := _fault(leaf, scope))]
    return (None if faults else selector), faults


def _fault(leaf: Leaf, scope: Scope) -> str | None:
    match leaf:
        case Word(word, called) if not called and word in scope.nodes:
            return _ambiguity(word, scope)
        case Name(name) if name not in scope.nodes:
            known = scope.nodes if leaf.called else (*scope.nodes, *WORDS, "layers(0..3)")
            return f"no node is called {name}.{suggestion(name, known)}"
        case Layers(spans) if scope.layers is not None:
            for span in spans:
                chosen = span.within(scope.layers)
                where = f"the decoder's layers are 0 to {scope.layers - 1}, or -{scope.layers} to -1 from the end"
                if not chosen:
                    return f"layers({span}) is an empty range: {where}."
                if chosen.start < 0 or chosen.stop > scope.layers:
                    return f"layers({span}) reaches outside: {where}."
    return None


def _ambiguity(word: str, scope: Scope) -> str | None:
    """None if the node and the word mean the same."""
    if word in ROLES:
        meant = scope.with_role(word)
        if meant == (word,):
            return None
        what = f"the role of {', '.join(meant)}" if meant else "a role"
    else:
        what = "the word for everything" if word == "all" else "the word for nothing" if word == "none" else "a part"
    other = f"role({word})" if word in (*ROLES, *PARTS) else "another name for the node"
    return f"{word} is a node here, and {what} too: write node({word}) or {other}."


def empty_leaves(selector: Selector, inventory: Inventory, scope: Scope) -> Iterator[Fault]:
    """Names and calls in a selector that select nothing of a model; `none` is meant to."""
    for leaf in selector.leaves():
        if leaf != Word("none") and not leaf.select(inventory.parameters, scope):
            yield Fault(leaf.column, f"{leaf} selects nothing: {_reason(leaf, inventory, scope)}")


def _reason(leaf: Leaf, inventory: Inventory, scope: Scope) -> str:
    match leaf:
        case Word("head") if inventory.tied:
            return f"the output layer is the embedding table ({_table(inventory)}). Write embeddings: it is both."
        case Word(word):
            present = {parameter.part for parameter in inventory.parameters} | set(scope.nodes.values())
            words = [each for each in (*ROLES, *PARTS) if each in present]
            return f"{inventory.name} has no {word}. It has {', '.join(words)}."
        case Name(name):
            return f"node {name} has no parameters."
        case Glob(pattern):
            if inventory.tied and fnmatchcase(f"{_decoder(scope)}.output_layer.weight", pattern):
                return f"the output layer is the embedding table ({_table(inventory)}). Write embeddings: it is both."
            near = _nearest_pattern(pattern, inventory.parameters)
            return f"no parameter fits.{f' Did you mean {near!r}?' if near else ' Names begin with a node.'}"
    return "no parameter is there."


def _table(inventory: Inventory) -> str:
    return next((parameter.name for parameter in inventory.parameters if parameter.part == "embeddings"), "")


def _decoder(scope: Scope) -> str:
    return next(iter(scope.with_role("decoder")), "")


def _nearest_pattern(pattern: str, parameters: Sequence[Parameter]) -> str | None:
    """The pattern with each unknown component of it replaced by the nearest one, if that fits a parameter."""
    known = {step for parameter in parameters for step in parameter.name.split(".")}
    steps = [
        step if step in known or not step.strip("*?") else nearest(step, known) or step for step in pattern.split(".")
    ]
    guesses = [".".join(steps), f"*.{'.'.join(steps)}.*".replace("*.*.", "*.").replace(".*.*", ".*")]
    for guess in (*guesses, f"*{pattern}*"):
        if guess != pattern and any(fnmatchcase(parameter.name, guess) for parameter in parameters):
            return guess
    templates = {_NUMBER.sub("*", parameter.name) for parameter in parameters}
    return nearest(pattern, templates)
