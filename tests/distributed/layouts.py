"""The layouts under test, and the faults that each must show."""

from typing import Any

from attrs import field, frozen


@frozen
class Layout:
    """One run: sizes for `runtime.init`, overrides for `build`, something broken on purpose, how many ranks."""

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
RECOMPUTE = {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}
SELECTIVE = {"recompute_granularity": "selective", "recompute_modules": ["core_attn", "mlp"]}
SELECTIVE_EXPERTS = {"recompute_granularity": "selective", "recompute_modules": ["core_attn", "moe"]}
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
    Layout("tp2sp_recompute", "experts", {"tp": 2}, SP | RECOMPUTE),
    Layout("cp2", "dense", {"cp": 2}),
    Layout("cp2", "experts", {"cp": 2}),
    Layout("cp2_recompute", "experts", {"cp": 2}, RECOMPUTE),
    Layout("cp2_recompute_attention", "dense", {"cp": 2}, SELECTIVE),
    Layout("tp2sp_recompute_attention_and_experts", "experts", {"tp": 2}, SP | SELECTIVE_EXPERTS),
    Layout("dp2", "dense", {}),
    Layout("dp2", "experts", {}),
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
)
FAULTS = (
    Layout("tp2", "dense", {"tp": 2}, fault="head_norms_not_summed"),
    Layout("tp2sp", "experts", {"tp": 2}, SP, fault="router_scales_not_summed"),
    Layout("ep2", "experts", {"ep": 2}, fault="experts_of_the_other_rank"),
    Layout("pp2", "dense", {"pp": 2}, fault="no_images_in_the_mask_of_the_last_stage"),
    Layout("pp2", "dense", {"pp": 2}, fault="tied_table_summed_on_one_stage_only"),
    Layout("dp2", "dense", {}, fault="images_of_one_rank_lost"),
)
