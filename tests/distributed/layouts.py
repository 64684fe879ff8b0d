"""The layouts under test, and what is broken on purpose in some of them."""

from typing import Any

from adapters.prove.layouts.job import Case
from adapters.prove.layouts.names import NamedLayout
from composer.plans.layout import Layout


def case(variant: str, name: str, data_ranks: int = 1, optimizer: bool = False, **fields: Any) -> Case:
    return Case(variant, NamedLayout(name, Layout(**fields), data_ranks, optimizer))


SP = {"sequence_parallel": True}
ATTENTION = {"recompute": "selective", "recompute_modules": ("core_attn", "mlp")}
EXPERTS = {"recompute": "selective", "recompute_modules": ("core_attn", "moe")}
TWO_RANKS = (
    case("dense", "tp2", tp=2),
    case("dense", "tp2sp", tp=2, **SP),
    case("experts", "tp2sp", tp=2, **SP),
    case("experts", "ep2", 2, ep=2),
    case("experts", "ep2tp2", ep=2, tp=2, **SP),
    case("experts", "etp2tp2", etp=2, tp=2, **SP),
    case("dense", "pp2", pp=2),
    case("experts", "pp2", pp=2),
    case("dense", "pp2vp2", pp=2, virtual_stages=2),
    case("experts", "pp2vp2", pp=2, virtual_stages=2),
    case("dense", "pp2_first_stage_smaller", pp=2, first_stage_layers=1),
    case("dense", "pp2_towers_alone", pp=2, first_stage_layers=0),
    case("experts", "pp2_logits_alone", pp=2, last_stage_layers=0),
    case("dense", "cp2", cp=2),
    case("experts", "cp2", cp=2),
    case("dense", "dp2", 2),
    case("experts", "dp2", 2),
    case("experts", "dp2do", 2, optimizer=True),
)
AGAIN = (
    case("dense", "pp2_recompute", pp=2, recompute="full"),
    case("experts", "tp2sp_recompute", tp=2, **SP, recompute="full"),
    case("experts", "cp2_recompute", cp=2, recompute="full"),
    case("dense", "cp2_recompute_attention", cp=2, **ATTENTION),
    case("experts", "tp2sp_recompute_parts", tp=2, **SP, **EXPERTS),
    case("experts", "pp2_recompute_parts", pp=2, **EXPERTS),
    case("latent", "tp2sp_recompute_parts", tp=2, **SP, **EXPERTS),
    case("latent", "cp2_recompute_parts", cp=2, **EXPERTS),
)
"""On two ranks, computing again in the backward pass."""
FOUR_RANKS = (
    case("dense", "pp2tp2", pp=2, tp=2),
    case("experts", "pp2tp2sp", pp=2, tp=2, **SP),
    case("experts", "pp2ep2", 2, pp=2, ep=2),
    case("experts", "ep2tp2dp2", 2, tp=2, ep=2, **SP),
    case("dense", "cp2tp2", cp=2, tp=2),
    case("experts", "cp2tp2sp", cp=2, tp=2, **SP),
    case("experts", "cp2pp2", cp=2, pp=2),
    case("experts", "cp2ep2dp2", 2, cp=2, ep=2),
    case("experts", "ep4tp2", 2, tp=2, ep=4, **SP),
    case("dense", "tp2dp2do", 2, True, tp=2),
    case("dense", "cp4", cp=4),
    case("latent", "cp2tp2sp", cp=2, tp=2, **SP),
)
# Case, what is broken (`faults.py`), and what the proof says.
FAULTS = (
    (case("dense", "tp2_head_norms", tp=2), "head_norms_not_summed", "q_norm.weight differs"),
    (case("dense", "tp2_tower", tp=2), "tower_not_summed", "the gradient of model.vision_tower"),
    (case("dense", "tp2_images", tp=2), "every_rank_encodes_all", "images were encoded as [5, 5]"),
    (case("experts", "tp2sp_router", tp=2, **SP), "router_scales_not_summed", "router.scale differs"),
    (case("experts", "ep2_experts", 2, ep=2), "experts_of_the_other_rank", "the loss differs"),
    (case("dense", "pp2_mask", pp=2), "no_images_in_the_mask_of_the_last_stage", "did not change and must"),
    (case("dense", "pp2_tied", pp=2), "tied_table_summed_on_one_stage_only", "embed_tokens.weight differs"),
    (case("dense", "dp2_images", 2), "images_of_one_rank_lost", "the loss differs"),
    (case("dense", "dp2_gradient", 2), "gradients_of_one_rank_lost", "differs by"),
    (case("dense", "cp2_masks", cp=2), "masks_in_sequence_order", "and must"),
    (case("dense", "cp2_positions", cp=2), "positions_of_the_other_rank", "the loss differs"),
    (case("dense", "cp2_borders", cp=2), "borders_lost", "packed documents: the loss differs"),
    (case("experts", "pp2_borders", pp=2), "borders_lost_on_the_last_stage", "changed and must not"),
    (case("latent", "tp2sp_latents", tp=2, **SP), "latents_not_summed", "kv_a_proj_with_mqa.weight differs"),
    (case("latent", "tp2sp_shared_key", tp=2, **SP), "shared_key_not_summed", "kv_a_proj_with_mqa.weight differs"),
    (case("dense", "pp2_turned", pp=2), "one_row_not_turned", "on no rank"),
    (case("dense", "pp2_frozen", pp=2), "freezing_ignored", "tower frozen: gradient reaches vision_tower"),
)
