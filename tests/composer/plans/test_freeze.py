"""Stages resolved to exact parameters and their groups."""

from hypothesis import given
from hypothesis import strategies as st

from composer.plans.freeze import Group, ResolvedStage, resolve, select
from composer.plans.selector_parser import parse_selector
from composer.plans.selectors import Scope
from composer.stages import FreezeStage
from tests.composer.plans.small_model import SCOPE, small_model

MODEL = small_model()
TEXTS = (
    "all",
    "tower",
    "eye",
    "projector",
    "decoder - experts",
    "norms",
    "layers(-2..)",
    "layers(..1)",
    "router | head",
    "experts",
)


def resolved(stage: FreezeStage) -> ResolvedStage:
    [found], problems = resolve({"stage": stage}, MODEL, SCOPE)
    assert problems == []
    return found


def names(text: str) -> frozenset[str]:
    found, faults = select(text, MODEL, SCOPE)
    assert faults == []
    return found


def test_a_stage_trains_the_union_without_the_exceptions() -> None:
    stage = resolved(FreezeStage(("projector", "decoder"), ("norms", "layers(0)")))
    assert stage.trained == (names("projector") | names("decoder")) - names("norms") - names("layers(0)")


def test_groups_are_by_multipliers_and_in_the_order_of_the_model() -> None:
    stage = resolved(
        FreezeStage(
            ("decoder",), lr_multipliers={"experts": 0.1, "embeddings": 2.0}, weight_decay_multipliers={"experts": 0.0}
        )
    )
    order = [parameter.name for parameter in MODEL.parameters]
    assert [(group.lr, group.weight_decay) for group in stage.groups] == [(2.0, 1.0), (1.0, 1.0), (0.1, 0.0)]
    assert frozenset(stage.groups[2].parameters) == names("experts")
    assert [*stage.groups[1].parameters] == sorted(stage.groups[1].parameters, key=order.index)


def test_the_same_multiplier_twice_is_no_contradiction() -> None:
    stage = resolved(FreezeStage(("decoder",), lr_multipliers={"norms": 0.5, "layers(0) & norms": 0.5}))
    assert stage.groups[1] == Group(0.5, 1.0, tuple(n for n in order() if n in names("norms & decoder")))


def order() -> list[str]:
    return [parameter.name for parameter in MODEL.parameters]


def test_a_multiplier_may_reach_beyond_what_trains() -> None:
    stage = resolved(FreezeStage(("decoder",), lr_multipliers={"norms": 0.5}))
    assert {name for group in stage.groups for name in group.parameters} == names("decoder")


def test_a_tied_table_is_embeddings_and_head_at_once() -> None:
    [stage], problems = resolve({"s": FreezeStage(("embeddings",))}, small_model(tied=True), SCOPE)
    assert problems == []
    assert stage.trained == {"decoder.embedding.weight"}


@given(st.lists(st.sampled_from(TEXTS), min_size=1, unique=True), st.lists(st.sampled_from(TEXTS), unique=True))
def test_resolution_is_set_algebra_or_an_error(trains: list[str], freezes: list[str]) -> None:
    found, problems = resolve({"s": FreezeStage(tuple(trains), tuple(freezes))}, MODEL, SCOPE)
    kept = [names(text) for text in trains]
    taken = [names(text) for text in freezes]
    together, frozen = frozenset().union(*kept), frozenset().union(*taken)
    contradicts = any(each <= frozen for each in kept) or any(not each & together for each in taken)
    assert bool(problems) == contradicts
    assert [stage.trained for stage in found] == ([] if contradicts else [together - frozen])


@given(st.dictionaries(st.sampled_from(TEXTS), st.sampled_from([0.0, 0.5, 1.0, 2.0])))
def test_every_trained_parameter_is_in_one_group_with_the_factor_of_its_selector(factors: dict[str, float]) -> None:
    found, problems = resolve({"s": FreezeStage(("all",), lr_multipliers=factors)}, MODEL, SCOPE)
    wanted: dict[str, set[float]] = {}
    for text, factor in factors.items():
        for name in names(text):
            wanted.setdefault(name, set()).add(factor)
    assert bool(problems) == any(len(each) > 1 for each in wanted.values())
    for stage in found:
        pairs = [(name, group.lr) for group in stage.groups for name in group.parameters]
        assert sorted(name for name, _ in pairs) == sorted(order())
        assert all(factor == next(iter(wanted.get(name, {1.0}))) for name, factor in pairs)


def test_a_node_named_like_its_only_role_is_not_ambiguous() -> None:
    """`decoder` is the node and the only node of the role; `tower` would be another thing than the role here."""
    assert names("decoder") == names("node(decoder)") == names("role(decoder)")
    scope = Scope({"tower": "tower", "ear": "tower"})
    _, faults = select("tower", MODEL, scope)
    assert [fault.message for fault in faults] == [
        "tower is a node here, and the role of tower, ear too: write node(tower) or role(tower)."
    ]
    assert parse_selector("node(tower)") == parse_selector("node(tower)")
