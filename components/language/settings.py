"""The part of Megatron-Core's TransformerConfig that a spec decides; layouts and precision come from the run."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import functional

from components.build_error import BuildError
from components.language.feed_forward import width_of
from components.language.feed_forward_declaration import Router
from components.language.gpt_declaration import Gpt, attending_kinds

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_pytorch_tanh": partial(functional.gelu, approximate="tanh"),
}


def transformer_settings(config: Gpt) -> dict[str, Any]:
    """Keyword arguments for TransformerConfig.

    Head counts and widths that differ between layer kinds are the first attending kind's here; layers read their own.

    Raises:
        BuildError: an unknown activation; layer kinds whose experts differ (Megatron-Core has one setting for all).
    """
    sizes = config.config
    if sizes.activation not in ACTIVATIONS:
        raise BuildError(f"activation {sizes.activation!r} is unknown; known: {', '.join(ACTIVATIONS)}")
    first = config.layers.whole(config.layers.names[0])
    return {
        "num_layers": sizes.num_layers,
        "hidden_size": sizes.hidden_size,
        **_head_settings(config),
        "ffn_hidden_size": width_of(first.ffn),
        "layernorm_epsilon": sizes.norm_eps,
        "normalization": "RMSNorm",
        "layernorm_zero_centered_gamma": sizes.norm_weight == "zero_centered",
        "activation_func": ACTIVATIONS[sizes.activation],
        "gated_linear_unit": True,
        "add_bias_linear": False,
        "init_method_std": sizes.init_std,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        **_expert_settings(config),
    }


def _head_settings(config: Gpt) -> dict[str, Any]:
    """Of the first kind that attends; without one, numbers that Megatron-Core wants and nothing reads."""
    for part in attending_kinds(config).values():
        return {"num_attention_heads": part.heads, "num_query_groups": part.kv_heads, "kv_channels": part.head_dim}
    part = config.layers.kinds[config.layers.order[0]].delta_net
    assert part is not None
    return {"num_attention_heads": part.key_heads, "num_query_groups": part.key_heads, "kv_channels": part.key_dim}


def _expert_settings(config: Gpt) -> dict[str, Any]:
    names = config.layers.names
    mixtures = {name: config.layers.whole(name).ffn.experts for name in dict.fromkeys(names)}
    experts = [part for part in mixtures.values() if part is not None]
    if not experts:
        return {}
    part = experts[0]
    if any(other != part for other in experts):
        raise BuildError("layer kinds with different experts: Megatron-Core has one setting for all layers")
    sparse = [int(mixtures[name] is not None) for name in names]
    return {
        **({} if all(sparse) else {"moe_layer_freq": sparse}),
        **_router_settings(part.router),
        "num_moe_experts": part.num_experts,
        "moe_router_topk": part.top_k,
        "moe_ffn_hidden_size": part.intermediate_size,
        "moe_router_dtype": "fp32",
        "moe_router_load_balancing_type": "none",
        "moe_aux_loss_coeff": 0.0,
        "moe_token_dispatcher_type": "alltoall",
    }


def _router_settings(part: Router) -> dict[str, Any]:
    """What Megatron-Core's router, checks and logs read; a choice that it cannot make is `expert_choice`'s."""
    settings: dict[str, Any] = {
        "moe_router_pre_softmax": part.score == "softmax" and (not part.renormalise or not part.is_plain),
        "moe_router_score_function": part.score,
    }
    if part.scaling != 1.0:
        settings["moe_router_topk_scaling_factor"] = part.scaling
    if part.groups > 1:
        settings |= {"moe_router_num_groups": part.groups, "moe_router_group_topk": part.group_top_k}
    if part.apply == "input":
        settings["moe_apply_probs_on_input"] = True
    return settings
