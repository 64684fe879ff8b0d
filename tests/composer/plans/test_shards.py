"""What ranks hold, of a model small enough to count by hand."""

import pytest

from composer.plans.inventory import Inventory, Parameter
from composer.plans.layout import Layout
from composer.plans.placement import PlacementError
from composer.plans.shards import RankKind, ShardError, rank_kinds, shard

LAYERS, EXPERTS = 8, 4


def layer(number):
    width = 32 if number % 4 == 3 else 16
    yield Parameter(f"lm.layers.{number}.qkv", "lm", "attention", (width, 6), split=0, layer=number)
    yield Parameter(f"lm.layers.{number}.norm", "lm", "norms", (6,), layer=number)
    for expert in range(EXPERTS):
        name = f"lm.layers.{number}.local_experts.{expert}"
        yield Parameter(f"{name}.down", "lm", "experts", (6, 10), split=1, layer=number, expert=expert)


def model(tied=True):
    parameters = [
        Parameter("tower.proj", "tower", "tower", (7, 3)),
        Parameter("projector.norm", "projector", "norms", (7,)),
        Parameter("lm.table", "lm", "embeddings", (100, 6), split=0),
        *(each for number in range(LAYERS) for each in layer(number)),
        Parameter("lm.final_norm", "lm", "norms", (6,)),
    ]
    if not tied:
        parameters.append(Parameter("lm.output", "lm", "head", (100, 6), split=0))
    return Inventory("", "small", tuple(parameters), (), tied)


def names(found):
    return {name for each in found for name in each.shapes if ".layers." not in name}


def test_one_rank_holds_everything_once():
    (whole,) = shard(model(), Layout(), 0)
    assert whole.elements == model().total
    assert list(whole.shapes) == [each.name for each in model().parameters]


@pytest.mark.parametrize(
    ("tied", "last"), [(True, {"lm.table", "lm.final_norm"}), (False, {"lm.output", "lm.final_norm"})]
)
def test_ends_of_a_pipeline(tied, last):
    layout = Layout(pp=4)
    assert names(shard(model(tied), layout, 0)) == {"tower.proj", "projector.norm", "lm.table"}
    assert names(shard(model(tied), layout, 1)) == set()
    assert names(shard(model(tied), layout, 3)) == last


def test_virtual_stages_hold_the_ends_once():
    layout = Layout(pp=2, virtual_stages=2)
    first, last = shard(model(), layout, 0), shard(model(), layout, 1)
    assert [tuple(each.chunk.layers) for each in first] == [(0, 1), (4, 5)]
    assert [tuple(each.chunk.layers) for each in last] == [(2, 3), (6, 7)]
    assert names(first[1:]) == names(last[:1]) == set()
    assert names(last[1:]) == {"lm.table", "lm.final_norm"}


def test_tensors_are_split_and_experts_dealt_out():
    (held,) = shard(model(), Layout(tp=2, ep=2, etp=5), 0, expert_rank=1)
    assert held.shapes["lm.layers.3.qkv"] == (16, 6)
    assert held.shapes["lm.table"] == (50, 6)
    assert held.shapes["tower.proj"] == (7, 3)
    experts = {name: shape for name, shape in held.shapes.items() if "layers.0.local_experts" in name}
    assert experts == {f"lm.layers.0.local_experts.{number}.down": (6, 2) for number in (2, 3)}


def test_all_ranks_together_hold_the_model():
    layout = Layout(pp=4, ep=4)
    held = [
        each.shapes for rank in range(4) for expert in range(4) for each in shard(model(False), layout, rank, expert)
    ]
    for parameter in model(False).parameters:
        holders = [shapes for shapes in held if parameter.name in shapes]
        assert len(holders) == (1 if parameter.expert is not None else 4), parameter.name


def test_stages_with_layers_of_the_same_shapes_are_one_kind():
    # Every fourth layer is wider.
    assert rank_kinds(model(), Layout(pp=8)) == tuple(
        RankKind(ranks, 0) for ranks in [(0,), (1, 2, 4, 5, 6), (3,), (7,)]
    )
    assert [kind.pipeline_ranks for kind in rank_kinds(model(), Layout(pp=4))] == [(0,), (1,), (2,), (3,)]
    assert [kind.pipeline_ranks for kind in rank_kinds(model(), Layout(pp=2, ep=4))] == [(0,), (0,), (1,), (1,)]
    assert [kind.expert_rank for kind in rank_kinds(model(), Layout(pp=2, ep=4))] == [0, 3, 0, 3]


def test_ranks_of_a_kind_are_counted_as_megatron_does():
    assert RankKind((2, 3), 3).first_rank(64, Layout(pp=4, ep=4, etp=2)) == 2 * 16 + 3 * 2


def test_what_cannot_be_dealt_out_is_named():
    with pytest.raises(ShardError, match=r"^lm\.table \[100, 6\]: dimension 0 cannot be split over 8 ranks$"):
        shard(model(), Layout(tp=8), 0)
    with pytest.raises(ShardError, match=r"^4 experts cannot be dealt out evenly to 3 expert-parallel ranks$"):
        shard(model(), Layout(ep=3), 0)
    with pytest.raises(PlacementError, match=r"^8 layers cannot be dealt out evenly to 3 pipeline ranks$"):
        shard(model(), Layout(pp=3), 0)
