"""Which checkpoints are written on two ranks, and in which layouts they are read again."""

from attrs import evolve, frozen

from tests.distributed.export_layouts import SP, Layout
from tests.distributed.graphs import VARIANTS

START = 1  # the step of the checkpoint that one rank writes and every layout begins with
SAVED = 2  # the step that every layout saves
FURTHER = 3  # steps after it where nothing changes


@frozen
class Case(Layout):
    """A layout, whether data-parallel ranks share the optimizer's state out, and the nodes that train (none: all)."""

    shared: bool = False
    trains: tuple[str, ...] = ()

    @property
    def goes_on_as_one_rank(self) -> bool:
        """Whether one rank, with all that it saved or read, computes the same: dropout differs by layout."""
        return DROPOUT.keys().isdisjoint(self.settings)

    @property
    def kind(self) -> str:
        return f"{self.variant}{'-shared' if self.shared else ''}"

    @property
    def id(self) -> str:
        return f"{self.kind}-{self.name}"


@frozen
class Hop:
    """Read in one layout what another has written; `fault`: what is broken on purpose."""

    source: Case
    target: Case
    fault: str | None = None

    @property
    def id(self) -> str:
        return f"{self.source.id}-to-{self.target.name}" + (f"-{self.fault}" if self.fault else "")


VIRTUAL = {"pp": 2, "virtual_pipeline_model_parallel_size": 2}
DROPOUT = {"hidden_dropout": 0.1, "attention_dropout": 0.1}
DENSE = {
    "dp2": Case("dp2", "dense", {}),
    "tp2": Case("tp2", "dense", {"tp": 2}),
    "tp2sp": Case("tp2sp", "dense", {"tp": 2}, SP),
    "pp2": Case("pp2", "dense", {"pp": 2}),
    "pp2vp2": Case("pp2vp2", "dense", VIRTUAL),
    "pp2_uneven": Case("pp2_uneven", "dense", {"pp": 2}, {"num_layers_in_first_pipeline_stage": 1}),
    # The last stage has nothing to train: Megatron-Core's optimizer there is empty.
    "pp2_projector": Case("pp2_projector", "dense", {"pp": 2}, trains=("embed_vision",)),
    "dp2_projector": Case("dp2_projector", "dense", {}, trains=("embed_vision",)),
    "tp2sp_dropout": Case("tp2sp_dropout", "dense", {"tp": 2}, SP | DROPOUT),
}
EXPERTS = {
    "dp2": Case("dp2", "experts", {}),
    "ep2": Case("ep2", "experts", {"ep": 2}),
    "tp2sp": Case("tp2sp", "experts", {"tp": 2}, SP),
    "ep2tp2": Case("ep2tp2", "experts", {"ep": 2, "tp": 2}, SP),
    "pp2vp2": Case("pp2vp2", "experts", VIRTUAL),
}
ONE = {variant: Case("one", variant, {}) for variant in VARIANTS}
STARTS = tuple(evolve(one, shared=shared) for one in ONE.values() for shared in (False, True))
HOPS = (
    *[(DENSE, False, source, target) for source, target in (
        ("dp2", "tp2sp"), ("tp2sp", "dp2"), ("dp2", "pp2vp2"), ("pp2vp2", "pp2"), ("pp2", "pp2vp2"),
        ("pp2_uneven", "dp2"), ("pp2_projector", "dp2_projector"), ("dp2_projector", "pp2_projector"),
    )],
    *[(DENSE, True, source, target) for source, target in (
        ("dp2", "tp2"), ("tp2", "dp2"), ("dp2", "pp2"), ("pp2_projector", "dp2_projector"),
    )],
    *[(EXPERTS, False, source, target) for source, target in (
        ("dp2", "ep2"), ("ep2", "dp2"), ("tp2sp", "pp2vp2"), ("pp2vp2", "tp2sp"), ("ep2tp2", "ep2"),
    )],
    *[(EXPERTS, True, source, target) for source, target in (("dp2", "ep2"), ("ep2", "dp2"), ("ep2tp2", "dp2"))],
)  # fmt: skip
"""(layouts, shared, source, target)"""


def _hop(layouts: dict[str, Case], shared: bool, source: str, target: str, fault: str | None = None) -> Hop:
    return Hop(evolve(layouts[source], shared=shared), evolve(layouts[target], shared=shared), fault)


RESHARDED = tuple(_hop(*hop) for hop in HOPS)
SOURCES = (*{hop.source.id: hop.source for hop in RESHARDED}.values(), DENSE["tp2sp_dropout"])
UNINTERRUPTED = (
    "dense-pp2vp2",
    "dense-tp2sp_dropout",
    "dense-shared-dp2",
    "dense-pp2_projector",
    "experts-ep2",
    "experts-shared-ep2tp2",
)
RESUMED = tuple(Hop(source, source) for source in SOURCES if source.id in UNINTERRUPTED)
DENSE_OR_ONE = DENSE | {"one": ONE["dense"]}
FAULTS = (
    _hop(DENSE, False, "dp2", "tp2sp", "gate_and_up_not_apart"),
    _hop(EXPERTS, False, "ep2", "dp2", "experts_in_another_order"),
    _hop(DENSE, True, "dp2", "tp2", "moments_lost"),
    _hop(DENSE_OR_ONE, False, "one", "dp2", "moments_lost"),
    _hop(DENSE_OR_ONE, True, "one", "dp2", "moments_lost"),
    _hop(DENSE, False, "dp2", "dp2", "steps_lost"),
    _hop(DENSE, False, "tp2sp_dropout", "tp2sp_dropout", "random_states_lost"),
)
ONE_RANK_FAULTS = tuple(_hop(DENSE_OR_ONE, shared, "dp2", "one", "moments_lost") for shared in (False, True))
