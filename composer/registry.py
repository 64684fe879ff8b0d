"""Components by name: what a node may be, found through entry points.

A distribution offers components in the entry-point group `vlm_composer.components`; the value of an entry point is a
`Component` or a tuple of them. Declarations import no torch, so that a spec is checked in well under a second.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from composer.finding import Finding

if TYPE_CHECKING:
    from composer.plans.costs import DecoderCosts

GROUP = "vlm_composer.components"

TOKENS = "tokens"
PORT_TYPES = (
    *(TOKENS, "pixels", "positions", "sizes", "grids", "seconds", "features", "levels", "embeddings", "hidden"),
    *("mask", "rotary", "weight", "logits", "any"),
)
"""The words for what ports and inputs hold; a component may add its own to its ports."""


class ComponentError(Exception):
    """A component is declared twice, or an entry point cannot be loaded or is none."""


@frozen
class Port:
    """Where an edge starts or ends.

    `type` is one of the field's words and decides which edge kinds may connect:
    `tokens`, `pixels`, `positions`, `sizes` (model inputs), `features` (rows out of towers and projectors), `levels`
    (several such blocks of rows, of different depth), `embeddings` (written by embed, then scatter), `hidden` (hidden
    states between decoder layers, by inject edges), `mask` (by mask edges), `rotary` (by position edges), `weight`
    (share edges), `logits`; `any` takes a data edge of whatever type.

    `shape` holds sizes or names; a name means the same size in all ports of the node. `origin`, if given, is as long
    as `shape` and says which config field set each size (`in_dim`, `inputs.pixel_values[2]`; "" if none), relative
    to the node: errors then point there.
    """

    name: str
    type: str
    shape: tuple[str | int, ...]
    required: bool = True
    origin: tuple[str, ...] = ()


@frozen
class Ports:
    """The inputs and outputs of a node, by port name."""

    inputs: dict[str, Port]
    outputs: dict[str, Port]


@frozen
class Component:
    """What a node can be: its configuration, its ports and the module that builds it.

    `role` is `tower`, `projector` or `decoder`. `implementation` names a torch module with
    `build(config, context) -> nn.Module` and `run(module, config, **inputs) -> Tensor`; a projector's `run` is also
    given `item_rows` (how many rows each item has that it reads), and one that makes another number of rows than it
    reads has `rows_after(config, item_rows, **inputs)`. A tower whose items are not those it is given has
    `items(config, **inputs)`, which returns its inputs item by item. `layer_kinds`, of a decoder, gives the layer kinds
    that need a mask rule each, in the order of their first layer; `fixed_rules` the rule, as text, of those kinds that
    can keep only one. `check` finds what is wrong with a configuration by itself; paths of its findings are relative to
    the node (`layers.order[3]`). `costs`, of a decoder, is what plans ask it; towers and projectors are run once on the
    meta device instead. `tensors` names what a node holds that is no module of its own in transformers: other nodes'
    `weights` may begin as its do. `token_groups`, of a decoder, gives names of the spec's tokens
    that its layers treat apart, by the place that names each group.
    """

    name: str
    role: str
    config: type
    ports: Callable[[Any], Ports]
    implementation: str
    layer_kinds: Callable[[Any], tuple[str, ...]] | None = field(default=None, kw_only=True)
    fixed_rules: Callable[[Any], Mapping[str, str]] | None = field(default=None, kw_only=True)
    check: Callable[[Any], Iterable[Finding]] | None = field(default=None, kw_only=True)
    costs: "Callable[[Any], DecoderCosts] | None" = field(default=None, kw_only=True)
    token_groups: Callable[[Any], dict[str, tuple[str, ...]]] | None = field(default=None, kw_only=True)
    tensors: Callable[[Any], tuple[str, ...]] | None = field(default=None, kw_only=True)


_registered: dict[str, Component] = {}


def components() -> dict[str, Component]:
    """All known components by name: those of installed distributions and those registered here.

    Raises:
        ComponentError: two components of one name, or a broken entry point.
    """
    known = dict(_installed())
    for component in _registered.values():
        _add(known, component, "register()")
    return known


def register(component: Component) -> Component:
    """Make a component known for the rest of the process, without packaging it.

    Raises:
        ComponentError: the name is taken.
    """
    if component.name in components():
        raise ComponentError(f"component {component.name} is already registered")
    _registered[component.name] = component
    return component


@contextmanager
def registered(*new: Component) -> Iterator[None]:
    """Components known inside a `with` block only."""
    with ExitStack() as known:
        for component in new:
            register(component)
            known.callback(_registered.pop, component.name)
        yield


@cache
def _installed() -> dict[str, Component]:
    known: dict[str, Component] = {}
    for entry in entry_points(group=GROUP):
        origin = f"entry point {entry.name} = {entry.value}"
        try:
            value = entry.load()
        except (ImportError, AttributeError) as error:
            raise ComponentError(f"{origin} cannot be loaded: {error}") from error
        for component in value if isinstance(value, tuple | list) else (value,):
            if not isinstance(component, Component):
                raise ComponentError(f"{origin}: a Component or a tuple of them is expected, not {component!r}")
            _add(known, component, origin)
    return known


def _add(known: dict[str, Component], component: Component, origin: str) -> None:
    if component.name in known:
        first = known[component.name].implementation
        raise ComponentError(
            f"component {component.name} is declared twice: {first} and {component.implementation} ({origin})"
        )
    known[component.name] = component
