"""The configuration of a composed model: Megatron-Core's TransformerConfig, and the graph it was made from."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from megatron.core.transformer.enums import LayerType
from megatron.core.transformer.transformer_block import get_num_layers_to_build
from megatron.core.transformer.transformer_config import TransformerConfig

from adapters.megatron import runtime
from components.build_error import BuildError
from components.language.settings import transformer_settings
from composer import Graph
from composer.levels import injected_layers

FREE = (
    "hidden_dropout",
    "attention_dropout",
    "init_method_std",
    "moe_router_dtype",
    "moe_router_load_balancing_type",
    "moe_aux_loss_coeff",
    "moe_token_dispatcher_type",
)
"""Fields that a spec gives a value, and a run may give another."""


@dataclass
class ComposedConfig(TransformerConfig):
    """A TransformerConfig that carries the graph; whatever takes the one takes the other."""

    graph: Graph | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "ComposedConfig":
        """Megatron-Core copies configurations per layer; the graph is immutable and stays one object."""
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        memo[id(self.graph)] = self.graph
        copied.__dict__.update({name: copy.deepcopy(value, memo) for name, value in self.__dict__.items()})
        return copied


def composed_config(graph: Graph, *, dtype: torch.dtype = torch.float32, **overrides: Any) -> ComposedConfig:
    """The configuration of a graph for a run.

    Args:
        graph: a checked graph.
        dtype: of parameters and activations.
        overrides: any field of TransformerConfig: layout (`tensor_model_parallel_size`, …), recomputation, kernels.
            What the spec decides cannot be overridden.

    Sizes of the layout are those of `runtime.init`, unless given.

    Raises:
        BuildError: an override contradicts the spec, or the layout cannot train this model.
    """
    decided = transformer_settings(graph.decoder().config)
    fixed = sorted(name for name in decided.keys() & overrides.keys() - set(FREE) if decided[name] != overrides[name])
    if fixed:
        raise BuildError(f"the spec decides {', '.join(fixed)}; change the spec, not the run")
    defaults: dict[str, Any] = {
        "params_dtype": dtype,
        "pipeline_dtype": dtype,
        "bf16": dtype == torch.bfloat16,
        "fp16": dtype == torch.float16,
        "transformer_impl": "local",
        "use_cpu_initialization": not torch.cuda.is_available(),
        "bias_dropout_fusion": False,
        "gradient_accumulation_fusion": False,
        "masked_softmax_fusion": False,
        "attention_softmax_in_fp32": True,
    }
    # Its experts run as one grouped product; everywhere else they run one after the other.
    grouped = overrides.get("transformer_impl") == "transformer_engine" and "num_moe_experts" in decided
    defaults["moe_grouped_gemm"] = grouped
    layout: dict[str, Any] = runtime.sizes()
    if layout.get("virtual_pipeline_model_parallel_size"):
        layout |= {"overlap_p2p_comm": True, "batch_p2p_comm": False}
    config = ComposedConfig(**{**defaults, **layout, **decided, **overrides}, graph=graph)
    _check_layout(config)
    if _levels_travel(config, graph):
        config.variable_seq_lengths = True  # stages exchange hidden states with as many feature rows as there are
    return config


def _levels_travel(config: ComposedConfig, graph: Graph) -> bool:
    """Whether a level of features is added on another pipeline stage than the one that makes it."""
    if config.pipeline_model_parallel_size == 1:
        return False
    layout: Any = config.pipeline_model_parallel_layout
    if layout is not None:  # Megatron-Core's own count takes no rank then: it answers for the one that asks
        first_stage = layout.layout[0][0].count(LayerType.decoder)
    else:
        virtual = config.virtual_pipeline_model_parallel_size
        first_stage = get_num_layers_to_build(config, vp_stage=0 if virtual else None, pp_rank=0)
    return any(layer >= first_stage for layer in injected_layers(graph))


def _check_layout(config: ComposedConfig) -> None:
    tp, pp = config.tensor_model_parallel_size, config.pipeline_model_parallel_size
    if config.num_moe_experts and tp > 1 and not config.sequence_parallel:
        raise BuildError(
            f"experts with tensor_model_parallel_size={tp} need sequence_parallel=True: without it every "
            "tensor-parallel rank would send the same tokens to the experts, and Megatron-Core's expert layer refuses "
            "to train so"
        )
    if config.virtual_pipeline_model_parallel_size and pp == 2 and not config.overlap_p2p_comm:
        raise BuildError(
            "virtual stages on two pipeline ranks need overlap_p2p_comm=True: without it activations and gradients "
            "travel between the same two ranks in one group of messages, and each is taken for the other"
        )
