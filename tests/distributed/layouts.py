"""The layouts under test, and the faults that each must show."""

from typing import Any

from attrs import field, frozen

DATA = ("pictures", "pictures_on_one_rank", "text", "packed")


@frozen
class Layout:
    """One run.

    sizes: for `runtime.init`; settings: overrides for `build`; fault: what is broken on purpose; ranks: how many there
    are; wrapper: settings of the data-parallel wrapper; data: see `batches.py`; frozen: whether the tower is.
    """

    name: str
    variant: str
    sizes: dict[str, int]
    settings: dict[str, Any] = field(factory=dict)
    fault: str | None = None
    ranks: int = 2
    wrapper: dict[str, Any] = field(factory=dict)
    data: str = "pictures"
    frozen: bool = False

    @property
    def id(self) -> str:
        marks = [self.data] * (self.data != "pictures") + ["frozen"] * self.frozen + [self.fault] * bool(self.fault)
        return "-".join([self.variant, self.name, *map(str, marks)])


SP = {"sequence_parallel": True}
RECOMPUTE = {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}
SELECTIVE = {"recompute_granularity": "selective", "recompute_modules": ["core_attn", "mlp"]}
SELECTIVE_EXPERTS = {"recompute_granularity": "selective", "recompute_modules": ["core_attn", "moe"]}
# Buckets of a few tensors each: gradients are sent while others are still being computed.
OVERLAP = {"overlap_grad_reduce": True, "bucket_size": 20_000}
LAYOUTS = (
    Layout("tp2", "dense", {"tp": 2}),
    Layout("tp2sp", "dense", {"tp": 2}, SP),
    Layout("tp2sp", "experts", {"tp": 2}, SP),
    Layout("ep2", "experts", {"ep": 2}),
    Layout("ep2tp2", "experts", {"ep": 2, "tp": 2}, SP),
    Layout("pp2", "dense", {"pp": 2}),
    Layout("pp2", "experts", {"pp": 2}),
    Layout("pp2vp2", "dense", {"pp": 2, "virtual_pipeline_model_parallel_size": 2}),
    Layout("pp2vp2", "experts", {"pp": 2, "virtual_pipeline_model_parallel_size": 2}),
    Layout("pp2_first_stage_smaller", "dense", {"pp": 2}, {"num_layers_in_first_pipeline_stage": 1}),
    Layout("cp2", "dense", {"cp": 2}),
    Layout("cp2", "experts", {"cp": 2}),
    Layout("dp2", "dense", {}),
    Layout("dp2", "experts", {}),
    # Recomputation.
    Layout("tp2sp_recompute", "experts", {"tp": 2}, SP | RECOMPUTE),
    Layout("cp2_recompute", "experts", {"cp": 2}, RECOMPUTE),
    Layout("cp2_recompute_attention", "dense", {"cp": 2}, SELECTIVE),
    Layout("tp2sp_recompute_parts", "experts", {"tp": 2}, SP | SELECTIVE_EXPERTS),
    Layout("pp2_recompute_parts", "experts", {"pp": 2}, SELECTIVE_EXPERTS),
    # Pictures on some ranks, in some micro-batches, or nowhere.
    Layout("dp2_overlap", "experts", {}, wrapper=OVERLAP),
    Layout("dp2_overlap", "experts", {}, wrapper=OVERLAP, data="pictures_on_one_rank"),
    Layout("dp2_overlap", "dense", {}, wrapper=OVERLAP, data="text"),
    Layout("pp2", "dense", {"pp": 2}, data="text"),
    Layout("tp2", "dense", {"tp": 2}, data="text"),
    Layout("cp2", "dense", {"cp": 2}, data="text"),
    Layout("tp2sp_overlap", "experts", {"tp": 2}, SP, wrapper=OVERLAP),
    # A frozen tower.
    Layout("dp2_overlap", "dense", {}, wrapper=OVERLAP, frozen=True),
    Layout("tp2sp", "experts", {"tp": 2}, SP, frozen=True),
    Layout("pp2", "dense", {"pp": 2}, frozen=True),
    Layout("cp2", "experts", {"cp": 2}, frozen=True),
    # Several documents in a row.
    Layout("tp2sp", "experts", {"tp": 2}, SP, data="packed"),
    Layout("cp2", "dense", {"cp": 2}, data="packed"),
    Layout("cp2", "experts", {"cp": 2}, data="packed"),
    Layout("pp2", "dense", {"pp": 2}, data="packed"),
    Layout("pp2", "experts", {"pp": 2}, data="packed"),
    Layout("pp2vp2", "dense", {"pp": 2, "virtual_pipeline_model_parallel_size": 2}, data="packed"),
    Layout("ep2", "experts", {"ep": 2}, data="packed"),
    Layout("dp2_overlap", "experts", {}, wrapper=OVERLAP, data="packed"),
)
COMBINED = (
    Layout("pp2xtp2", "dense", {"pp": 2, "tp": 2}, ranks=4),
    Layout("pp2xtp2sp", "experts", {"pp": 2, "tp": 2}, SP, ranks=4),
    Layout("pp2xep2", "experts", {"pp": 2, "ep": 2}, ranks=4),
    Layout("ep2xtp2xdp2", "experts", {"tp": 2, "ep": 2}, SP, ranks=4),
    Layout("cp2xtp2", "dense", {"cp": 2, "tp": 2}, ranks=4),
    Layout("cp2xtp2sp", "experts", {"cp": 2, "tp": 2}, SP, ranks=4),
    Layout("cp2xpp2", "experts", {"cp": 2, "pp": 2}, ranks=4),
    Layout("cp2xep2", "experts", {"cp": 2, "ep": 2}, ranks=4),
    Layout("ep4xtp2", "experts", {"tp": 2, "ep": 4}, SP, ranks=4),
    Layout("cp2xtp2sp", "experts", {"cp": 2, "tp": 2}, SP, ranks=4, data="packed"),
    Layout("cp2xpp2", "dense", {"cp": 2, "pp": 2}, ranks=4, data="packed"),
    Layout("cp2xdp2_overlap", "experts", {"cp": 2}, ranks=4, wrapper=OVERLAP, data="pictures_on_one_rank"),
    Layout("tp2xdp2_overlap", "dense", {"tp": 2}, ranks=4, wrapper=OVERLAP, data="pictures_on_one_rank"),
)
FAULTS = (
    Layout("tp2", "dense", {"tp": 2}, fault="head_norms_not_summed"),
    Layout("tp2", "dense", {"tp": 2}, fault="tower_not_summed"),
    Layout("tp2sp", "experts", {"tp": 2}, SP, fault="router_scales_not_summed"),
    Layout("ep2", "experts", {"ep": 2}, fault="experts_of_the_other_rank"),
    Layout("pp2", "dense", {"pp": 2}, fault="no_images_in_the_mask_of_the_last_stage"),
    Layout("pp2", "dense", {"pp": 2}, fault="tied_table_summed_on_one_stage_only"),
    Layout("dp2", "dense", {}, fault="images_of_one_rank_lost"),
    Layout("cp2", "dense", {"cp": 2}, fault="masks_in_sequence_order"),
    Layout("cp2", "dense", {"cp": 2}, fault="positions_of_the_other_rank"),
    Layout("cp2", "dense", {"cp": 2}, fault="borders_lost", data="packed"),
    Layout("pp2", "experts", {"pp": 2}, fault="borders_lost_on_the_last_stage", data="packed"),
)
