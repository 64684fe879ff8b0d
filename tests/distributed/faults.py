"""What can go wrong in a layout, done on purpose."""

from contextlib import contextmanager
from functools import partial

import torch
from megatron.core import parallel_state
from megatron.core.tensor_parallel.mappings import gather_from_sequence_parallel_region

from adapters.huggingface.rank_share import Part, RankShare
from adapters.prove.layouts import who_changes
from adapters.prove.layouts.worker import PACKED
from components.fusion.rotary import rotation as position_rotation
from components.fusion.sequence_order import SequenceShare
from components.language.latent_attention import LatentAttention

PICTURES = ("pixel_values", "image_position_ids")


@contextmanager
def importing(fault):
    if fault != "experts_of_the_other_rank":
        yield
        return
    window = RankShare.window

    def swapped(self, split):
        other = Part(1 - self.experts.index, self.experts.parts)
        return window(RankShare(self.tensors, other), split) if split == "E" else window(self, split)

    RankShare.window = swapped
    try:
        yield
    finally:
        RankShare.window = window


@contextmanager
def turning(fault):
    """Without the last row that is to be turned."""
    if fault != "one_row_not_turned":
        yield
        return
    changes = who_changes.changes

    def fewer(stages, at, layer, batches, rows, runs, level=None):
        return changes(stages, at, layer, batches, rows, runs - 1, level)

    who_changes.changes = fewer
    try:
        yield
    finally:
        who_changes.changes = changes


def break_model(fault, model):
    """Break what `fault` names in a stage."""
    change = MODEL_FAULTS.get(fault)
    if change is not None:
        change(model)


def _head_norms_not_summed(model):
    for name, module in model.language_model.named_modules():
        if name.endswith(("q_norm", "k_norm")):
            assert module.sum_over is not None
            module.sum_over = None


def _router_scales_not_summed(model):
    for name, parameter in model.named_parameters():
        if name.endswith(("input_scale", "expert_scale")):
            parameter.sequence_parallel = False


def _latents_not_summed(model):
    for name, parameter in model.named_parameters():
        if name.endswith("_down_proj.weight"):
            parameter.sequence_parallel = False


def _shared_key_not_summed(model):
    for module in model.modules():
        if isinstance(module, LatentAttention):
            module._to_all_heads = partial(
                gather_from_sequence_parallel_region, tensor_parallel_output_grad=False, group=module.tensor_group
            )


def _tied_table_summed_on_one_stage_only(model):
    model.share_embeddings_and_output_weights = False


def _tower_not_summed(model):
    for parameter in model.vision_tower.parameters():
        parameter.average_gradients_across_tp_domain = False


def _every_rank_encodes_all(model):
    model._encoding = None


def _freezing_ignored(model):
    model.freeze = lambda **_: None


def _gradients_of_one_rank_lost(model):
    if parallel_state.get_data_parallel_rank() == 1:
        model.embed_vision.register_full_backward_hook(_no_gradient)


def break_batches(fault, model, own):
    """The micro-batches of this rank, without what `fault` names."""
    last_stage, data_rank = model.post_process, parallel_state.get_data_parallel_rank()
    if fault == "no_images_in_the_mask_of_the_last_stage" and last_stage:
        return _each(own, lambda batch: batch | {"input_ids": torch.full_like(batch["input_ids"], 5)})
    if fault == "images_of_one_rank_lost" and data_rank == 1:
        return _each(own, _without_images)
    if fault == "borders_lost" or (fault == "borders_lost_on_the_last_stage" and last_stage):
        return own | {PACKED: [batch | {"cu_seqlens": batch["cu_seqlens"][[0, -1]]} for batch in own[PACKED]]}
    return own


def _each(own, change):
    return {name: [change(batch) for batch in batches] for name, batches in own.items()}


def _without_images(batch):
    text = batch["input_ids"].clamp(max=100)
    return batch | dict.fromkeys(PICTURES) | {"input_ids": text, "images_per_sample": torch.zeros(1, dtype=torch.int64)}


def _sequence_order(module, args):
    embeddings, metadata, rotation = args
    order = SequenceShare(ranks=2).rank_order(metadata.shape[-1], metadata.device)
    return embeddings, metadata[:, :, order.argsort()], rotation


def _other_positions(module, args):
    embeddings, metadata, rotation = args
    order = SequenceShare(ranks=2).rank_order(metadata.shape[-1], metadata.device)
    other = SequenceShare(1 - parallel_state.get_context_parallel_rank(), 2).own(order)
    return embeddings, metadata, position_rotation(other[None], module.rotation_table(metadata.device), rotation.dtype)


def _no_gradient(_module, inputs, _outputs):
    return tuple(None if gradient is None else gradient * 0 for gradient in inputs)


MODEL_FAULTS = {
    "head_norms_not_summed": _head_norms_not_summed,
    "router_scales_not_summed": _router_scales_not_summed,
    "latents_not_summed": _latents_not_summed,
    "shared_key_not_summed": _shared_key_not_summed,
    "tied_table_summed_on_one_stage_only": _tied_table_summed_on_one_stage_only,
    "tower_not_summed": _tower_not_summed,
    "every_rank_encodes_all": _every_rank_encodes_all,
    "freezing_ignored": _freezing_ignored,
    "gradients_of_one_rank_lost": _gradients_of_one_rank_lost,
    "masks_in_sequence_order": lambda model: model.language_model.register_forward_pre_hook(_sequence_order),
    "positions_of_the_other_rank": lambda model: model.language_model.register_forward_pre_hook(_other_positions),
}
