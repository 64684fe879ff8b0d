"""What can go wrong in a layout, done on purpose."""

from contextlib import contextmanager

import torch
from megatron.core import parallel_state

from adapters.huggingface.rank_share import Part, RankShare
from components.fusion.rotary import rotation as position_rotation
from components.fusion.sequence_order import SequenceShare
from tests.distributed.batches import PICTURES


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


def break_model(fault, model):
    """Break what `fault` names in a model."""
    match fault:
        case "head_norms_not_summed":
            for name, module in model.language_model.named_modules():
                if name.endswith(("q_norm", "k_norm")):
                    assert module.sum_over is not None
                    module.sum_over = None
        case "router_scales_not_summed":
            for name, parameter in model.named_parameters():
                if name.endswith(("input_scale", "expert_scale")):
                    parameter.sequence_parallel = False
        case "tied_table_summed_on_one_stage_only":
            model.share_embeddings_and_output_weights = False
        case "tower_not_summed":
            for parameter in model.vision_tower.parameters():
                parameter.average_gradients_across_tp_domain = False
        case "masks_in_sequence_order":
            model.language_model.register_forward_pre_hook(_masks_in_sequence_order)
        case "positions_of_the_other_rank":
            model.language_model.register_forward_pre_hook(_positions_of_the_other_rank)


def break_batches(fault, model, batches):
    """The micro-batches of this rank, without what `fault` names."""
    last_stage, data_rank = model.post_process, parallel_state.get_data_parallel_rank()
    if fault == "no_images_in_the_mask_of_the_last_stage" and last_stage:
        return [batch | {"input_ids": torch.full_like(batch["input_ids"], 5)} for batch in batches]
    if fault == "images_of_one_rank_lost" and data_rank == 1:
        text = [batch["input_ids"].clamp(max=100) for batch in batches]
        return [batch | dict.fromkeys(PICTURES) | {"input_ids": ids} for batch, ids in zip(batches, text, strict=True)]
    if fault == "borders_lost" or (fault == "borders_lost_on_the_last_stage" and last_stage):
        return [batch | {"cu_seqlens": batch["cu_seqlens"][[0, -1]]} for batch in batches]
    return batches


def _masks_in_sequence_order(module, args):
    embeddings, metadata, rotation = args
    order = SequenceShare(ranks=2).rank_order(metadata.shape[-1], metadata.device)
    return embeddings, metadata[:, :, order.argsort()], rotation


def _positions_of_the_other_rank(module, args):
    embeddings, metadata, rotation = args
    length = metadata.shape[-1]
    order = SequenceShare(ranks=2).rank_order(length, metadata.device)
    other = SequenceShare(1 - parallel_state.get_context_parallel_rank(), 2).own(order)
    return embeddings, metadata, position_rotation(other[None], module.frequencies(metadata.device), rotation.dtype)
