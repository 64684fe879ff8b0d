"""Layouts that are imported into and exported from, and what goes wrong in some of them on purpose."""

from typing import Any

from attrs import field, frozen


@frozen
class Layout:
    """Sizes for `runtime.init`, overrides for `build`, what is broken on purpose, how many ranks."""

    name: str
    variant: str
    sizes: dict[str, int]
    settings: dict[str, Any] = field(factory=dict)
    fault: str | None = None
    ranks: int = 2

    @property
    def id(self) -> str:
        return f"{self.variant}-{self.name}" + (f"-{self.fault}" if self.fault else "")


SP = {"sequence_parallel": True}
VIRTUAL = {"virtual_pipeline_model_parallel_size": 2}
LAYOUTS = (
    Layout("tp2", "dense", {"tp": 2}),
    Layout("tp2sp", "dense", {"tp": 2}, SP),
    Layout("tp2sp", "experts", {"tp": 2}, SP),
    Layout("ep2", "experts", {"ep": 2}),
    Layout("ep2tp2", "experts", {"ep": 2, "tp": 2}, SP),
    Layout("etp2tp2", "experts", {"etp": 2, "tp": 2}, SP),
    Layout("pp2", "dense", {"pp": 2}),
    Layout("pp2", "experts", {"pp": 2}),
    Layout("pp2vp2", "dense", {"pp": 2} | VIRTUAL),
    Layout("pp2vp2", "experts", {"pp": 2} | VIRTUAL),
    Layout("cp2", "dense", {"cp": 2}),
    Layout("cp2", "experts", {"cp": 2}),
    Layout("dp2", "dense", {}),
    Layout("dp2", "experts", {}),
    Layout("ep2", "each_expert", {"ep": 2}),
    Layout("etp2tp2", "each_expert", {"etp": 2, "tp": 2}, SP),
    Layout("pp2", "each_expert", {"pp": 2}),
)
COMBINED = (
    Layout("tp2pp2", "dense", {"tp": 2, "pp": 2}, ranks=4),
    Layout("tp2pp2vp2", "experts", {"tp": 2, "pp": 2} | VIRTUAL, SP, ranks=4),
    Layout("tp2dp2", "dense", {"tp": 2}, ranks=4),
    Layout("cp2tp2", "dense", {"cp": 2, "tp": 2}, SP, ranks=4),
    Layout("cp2ep2", "experts", {"cp": 2, "ep": 2}, ranks=4),
    Layout("ep2pp2", "experts", {"ep": 2, "pp": 2}, ranks=4),
    Layout("ep2tp2dp2", "experts", {"ep": 2, "tp": 2}, SP, ranks=4),
    Layout("ep4tp2", "experts", {"ep": 4, "tp": 2}, SP, ranks=4),
    Layout("etp2tp2ep2", "each_expert", {"etp": 2, "tp": 2, "ep": 2}, SP, ranks=4),
    Layout("etp2tp2ep2", "experts", {"etp": 2, "tp": 2, "ep": 2}, SP, ranks=4),
    Layout("etp2tp2pp2", "experts", {"etp": 2, "tp": 2, "pp": 2}, SP, ranks=4),
)
SWAPPED = Layout("tp2", "dense", {"tp": 2}, fault="halves_swapped")
REFUSED = (
    Layout("tp2", "dense", {"tp": 2}, fault="weights_are_there"),
    Layout("tp2", "dense", {"tp": 2}, fault="values_of_rank_1_cannot_be_read"),
    Layout("pp2", "dense", {"pp": 2}, fault="disk_is_full"),
    Layout("tp2", "dense", {"tp": 2}, fault="a_part_is_on_no_rank"),
    Layout("pp2", "dense", {"pp": 2}, fault="a_tensor_of_rank_1_has_no_name"),
)
EVERY = (*LAYOUTS, *COMBINED, SWAPPED, *REFUSED)
SAVED = "experts-ep2tp2"
MAX_SHARD_BYTES = 100_000
