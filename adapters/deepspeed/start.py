"""`deepspeed.initialize` for a composed model."""

import os
from collections.abc import Mapping
from typing import Any

import deepspeed
import torch
from deepspeed import ops
from deepspeed.utils import set_z3_leaf_modules
from megatron.core.transformer.moe.moe_layer import MoELayer

from adapters.deepspeed.parameter_groups import parameter_groups
from adapters.megatron.module import ComposedModel
from adapters.training.settings import OptimizerSettings
from adapters.training.stages import RatesOf
from composer import Graph

# Without a GPU, DeepSpeed compiles an all-reduce of its own when it first communicates: a minute and a compiler, to do
# what gloo does.
ops.__compatible_ops__["deepspeed_shm_comm"] = False


def start(
    model: ComposedModel,
    graph: Graph,
    settings: OptimizerSettings,
    config: Mapping[str, Any],
    rates: RatesOf | None = None,
) -> deepspeed.DeepSpeedEngine:
    """A DeepSpeed engine over what requires gradients in a model; every rank calls it.

    Args:
        model: whole, with the same weights on every rank; stage 3 partitions it in place.
        graph: the model's.
        settings: learning-rate factors and weight decay.
        config: from `deepspeed_config`.
        rates: factors of single parameters, from a freeze plan.
    """
    partitioned = config["zero_optimization"]["stage"] == 3
    if partitioned and any(isinstance(module, MoELayer) for module in model.modules()):
        # Whether an expert gets tokens depends on the data: ranks that gathered expert by expert might wait for each
        # other in vain. A layer's experts are gathered at once, which is quicker too.
        set_z3_leaf_modules(model, [MoELayer])
    _name_device(torch.device(torch.cuda.current_device()))
    groups: Any = parameter_groups(model, graph, settings, rates)
    engine, *_ = deepspeed.initialize(
        model=model,
        model_parameters=groups,
        config=dict(config),
        dist_init_required=False,
    )
    if partitioned and model.share_embeddings_and_output_weights:
        # The output layer has no table of its own: it is handed the embedding's, which is released by then.
        table = model.shared_embedding_or_output_weight()
        deepspeed.zero.register_external_parameter(model.decoder_node.output_layer, table)
    return engine


def _name_device(device: torch.device) -> None:
    """DeepSpeed asks the launcher for the device that this process already has.

    There may be no launcher, or one that lets each rank see its own device only, whose number is then 0.
    """
    if device.index is not None:
        os.environ["LOCAL_RANK"] = str(device.index)
    else:
        os.environ.setdefault("LOCAL_RANK", "0")
