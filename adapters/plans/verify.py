"""Whether the shards of a plan are real: ranks of its layout are built on the meta device and compared with the plan.

One rank of each kind is built, with all its virtual stages, in a world of the plan's size under torch's fake process
group. Compared are the rank's place among pipeline- and expert-parallel ranks, the layers of each stage, the names of
its parameters, their shapes on the rank, and so their number: all equal, or each difference is named.
"""

from collections.abc import Iterator

from attrs import frozen

from adapters.plans.inventory import inventory
from composer.graph import Graph
from composer.plans.execution import Execution
from composer.plans.inventory import Inventory
from composer.plans.shards import RankKind, Shard, rank_kinds, shard


@frozen(eq=False)
class BuiltStage:
    """A pipeline stage that a rank has really built. layers: indices over the whole decoder. shapes: by whole names."""

    layers: tuple[int, ...]
    shapes: dict[str, tuple[int, ...]]


@frozen(eq=False)
class BuiltRank:
    """What a rank has built, and where Megatron-Core says it stands. failure: why it could not be built."""

    pipeline_rank: int
    expert_rank: int
    stages: tuple[BuiltStage, ...]
    failure: str | None = None


@frozen
class Difference:
    """Something that the rank and the plan do not agree on. where: rank and stage; name: of a parameter, or empty."""

    where: str
    name: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.name} {self.what}" if self.name else f"{self.where}: {self.what}"


@frozen
class CheckedRank:
    """A rank that was built. holds: its layers and ends, in words; parameters, elements: that the plan gives it."""

    kind: RankKind
    rank: int
    holds: str
    parameters: int
    elements: int


@frozen
class Verification:
    """What was compared, and every difference; none: the plan's shards are real."""

    model: str
    execution: Execution
    ranks: tuple[CheckedRank, ...]
    differences: tuple[Difference, ...]

    @property
    def real(self) -> bool:
        """Whether the ranks and the plan are equal."""
        return not self.differences


def verify(graph: Graph, execution: Execution) -> Verification:
    """Build one rank of each kind of a plan and compare it with the plan.

    Args:
        graph: a checked graph.
        execution: of the plan; `gpus` and `layout` are read.

    Raises:
        PlacementError, ShardError: the plan itself cannot be dealt out.
    """
    return verify_inventory(graph, inventory(graph), execution)


def verify_inventory(graph: Graph, planned: Inventory, execution: Execution) -> Verification:
    """The same against a given inventory, which need not be the graph's own."""
    from adapters.plans.building import build_ranks
    from adapters.plans.meta_model import alone

    layout = execution.layout
    kinds = {kind.first_rank(execution.gpus, layout): kind for kind in rank_kinds(planned, layout)}
    shards = {rank: shard(planned, layout, kind.pipeline_ranks[0], kind.expert_rank) for rank, kind in kinds.items()}
    built = alone(build_ranks, graph, execution, tuple(kinds))
    checked, differences = [], []
    for (rank, kind), found in zip(kinds.items(), built, strict=True):
        parameters = sum(len(each.shapes) for each in shards[rank])
        checked.append(
            CheckedRank(kind, rank, _holds(shards[rank]), parameters, sum(each.elements for each in shards[rank]))
        )
        differences += compare(f"rank {rank}", kind, shards[rank], found)
    return Verification(graph.name, execution, tuple(checked), tuple(differences))


def compare(where: str, kind: RankKind, planned: tuple[Shard, ...], built: BuiltRank) -> Iterator[Difference]:
    """Differences between what the plan gives a rank and what it has built."""
    if built.failure is not None:
        yield Difference(where, "", f"cannot be built: {built.failure}")
        return
    places = {
        "pipeline": (built.pipeline_rank, kind.pipeline_ranks[0]),
        "expert-parallel": (built.expert_rank, kind.expert_rank),
    }
    for name, (found, wanted) in places.items():
        if found != wanted:
            yield Difference(where, "", f"is {name} rank {found}; the plan says {wanted}")
    if len(planned) != len(built.stages):
        yield Difference(where, "", f"has {len(built.stages)} virtual stages; the plan says {len(planned)}")
    for number, (shard_, stage) in enumerate(zip(planned, built.stages, strict=False)):
        yield from _compare_stage(f"{where}, stage {number}" if len(planned) > 1 else where, shard_, stage)


def _compare_stage(where: str, planned: Shard, built: BuiltStage) -> Iterator[Difference]:
    wanted = tuple(planned.chunk.layers)
    if built.layers != wanted:
        yield Difference(where, "", f"holds layers {_range(built.layers)}; the plan says {_range(wanted)}")
    for name, shape in built.shapes.items():
        if name not in planned.shapes:
            yield Difference(where, name, f"{list(shape)} is on the rank and not in the plan")
        elif shape != planned.shapes[name]:
            yield Difference(where, name, f"is {list(shape)} on the rank; the plan says {list(planned.shapes[name])}")
    for name, shape in planned.shapes.items():
        if name not in built.shapes:
            yield Difference(where, name, f"{list(shape)} is in the plan and not on the rank")


def _holds(planned: tuple[Shard, ...]) -> str:
    """`layers 0–4, 10–14 in 2 virtual stages, first stage`."""
    chunks = [each.chunk for each in planned]
    one = sum(len(chunk.layers) for chunk in chunks) == 1
    layers = f"layer{'' if one else 's'} {', '.join(_range(tuple(chunk.layers)) for chunk in chunks)}"
    virtual = f" in {len(chunks)} virtual stages" if len(chunks) > 1 else ""
    first = ", first stage" if any(chunk.first for chunk in chunks) else ""
    last = ", last stage" if any(chunk.last for chunk in chunks) else ""
    return f"{layers}{virtual}{first}{last}"


def _range(layers: tuple[int, ...]) -> str:
    """`3–7`, or each of them where they are not in a row."""
    if layers and layers == tuple(range(layers[0], layers[-1] + 1)) and len(layers) > 1:
        return f"{layers[0]}–{layers[-1]}"
    return ", ".join(map(str, layers)) or "none"
