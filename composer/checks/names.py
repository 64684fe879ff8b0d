"""Names and numbers of the spec's sections: tokens, inputs, prefixes of weights, the required version."""

from collections.abc import Iterator

from composer.checks.reserved import input_clash, node_clash
from composer.checks.wiring import IDS, Wiring
from composer.finding import Finding
from composer.graph import Graph
from composer.ranges import whole
from composer.registry import TOKENS
from composer.requires import is_requirement
from composer.suggestion import suggestion


def name_findings(wiring: Wiring) -> Iterator[Finding]:
    """What is wrong with the sections beside the nodes' configurations and the edges."""
    graph = wiring.graph
    if graph.hf and graph.hf.requires is not None and not is_requirement(graph.hf.requires):
        message = f"{graph.hf.requires!r} is no requirement: a package and versions are, as in transformers>=5.23."
        yield Finding("hf.requires", message)
    yield from _tokens(graph)
    yield from _groups(wiring)
    yield from _inputs(wiring)
    for name in graph.nodes:
        if clash := node_clash(name, graph.tokens):
            yield Finding(f"nodes.{name}", f"{clash} Give the node another name.")
    yield from _weights(graph)


def _tokens(graph: Graph) -> Iterator[Finding]:
    names: dict[int, str] = {}
    for name, token in graph.tokens.items():
        yield from whole(f"tokens.{name}", token, 0)
        other = names.setdefault(token, name)
        if other != name:
            yield Finding(f"tokens.{name}", f"{token} is the id of {other} too ({{0}}).", (f"tokens.{other}",))


def _groups(wiring: Wiring) -> Iterator[Finding]:
    """Tokens that layers of a decoder treat apart are tokens of the spec."""
    for name, node in wiring.graph.nodes.items():
        component = wiring.components.get(node.component)
        if component is None or component.token_groups is None or node.config is None:
            continue
        for path, tokens in component.token_groups(node.config).items():
            for number, token in enumerate(tokens):
                if token not in wiring.graph.tokens:
                    message = f"unknown token {token!r}.{suggestion(token, wiring.graph.tokens)}"
                    yield Finding(f"nodes.{name}.{path}[{number}]", message)


def _inputs(wiring: Wiring) -> Iterator[Finding]:
    for name, given in wiring.graph.inputs.items():
        path = f"inputs.{name}"
        if clash := input_clash(name, wiring.graph.tokens):
            yield Finding(path, f"{clash} Give the input another name.")
        if given.type not in wiring.types:
            yield Finding(f"{path}.type", f"unknown type {given.type!r}.{suggestion(given.type, wiring.types)}")
        elif name == IDS and given.type != TOKENS:
            yield Finding(f"{path}.type", f"{IDS} holds {TOKENS}, not {given.type}.")
        for position, size in enumerate(given.shape):
            yield from whole(f"{path}.shape[{position}]", size)


def _weights(graph: Graph) -> Iterator[Finding]:
    owners: dict[tuple[str, ...], str] = {}
    prefixes = [(name, prefix) for name in graph.nodes for prefix in graph.weight_names(name)]
    for name, prefix in prefixes:
        other = owners.setdefault(_parts(prefix), name)
        if other != name:
            message = f"{prefix!r} is the prefix of {other} too ({{0}})."
            yield Finding(f"nodes.{name}.weights", message, (f"nodes.{other}.weights",))
    for name, prefix in prefixes:
        parts = _parts(prefix)
        for length in range(len(parts)):
            around = owners.get(parts[:length])
            if around is not None:
                outer = ".".join(parts[:length])
                message = f"{prefix!r} lies within {outer!r}, the prefix of {around} ({{0}})."
                yield Finding(f"nodes.{name}.weights", message, (f"nodes.{around}.weights",))


def _parts(prefix: str) -> tuple[str, ...]:
    return tuple(prefix.rstrip(".").split(".")) if prefix else ()
