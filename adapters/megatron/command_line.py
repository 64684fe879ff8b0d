"""A graph in the words of Megatron-LM's command line, and that command line in the words of `composed_config`.

Megatron-LM takes sizes as required arguments, checks layouts against them and counts operations by them. They are made
from the graph here, and compared with it again before a model is built: the spec is what decides.
"""

from argparse import Namespace
from dataclasses import MISSING, dataclass, fields
from typing import Any

from attrs import frozen
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.training.argument_utils import core_transformer_config_from_args

from adapters.megatron.config import FREE
from components.build_error import BuildError
from components.language.settings import transformer_settings
from composer import Graph
from composer.edges import ShareEdge


@frozen
class Argument:
    """One argument: as written, the attribute it is parsed into, and the value that the graph wants there.

    `free`: only a default of ours, which the run may change.
    """

    words: tuple[str, ...]
    name: str
    value: Any
    free: bool = False


def megatron_arguments(graph: Graph) -> list[str]:
    """What the command line of Megatron-LM must say about a graph; arguments after these win where the run may choose.

    Operations that Megatron-LM counts with them are those of the decoder: every layer with the first kind's attention,
    a dense branch beside experts as a shared expert, towers and mask rules left out.

    Args:
        graph: from `composer.load` or the builder; it is checked here.

    Raises:
        SpecError: the graph has problems.
    """
    graph.check()
    return [word for argument in _arguments(graph) for word in argument.words]


def run_settings(args: Namespace, graph: Graph) -> dict[str, Any]:
    """Fields of TransformerConfig that a parsed command line chooses for the run: layout, precision, recomputation, ….

    Args:
        args: validated by Megatron-LM.
        graph: a checked graph.

    Raises:
        BuildError: arguments that contradict the spec, all of them.
    """
    given: Any = core_transformer_config_from_args(args, _Given)
    chosen = {field.name: getattr(given, field.name) for field in fields(_Given) if _differs(given, field)}
    expected = _arguments(graph)
    problems = [
        f"{argument.words[0] if argument.words else _flag(argument.name)} is {getattr(args, argument.name)}, "
        f"the spec wants {argument.value}"
        for argument in expected
        if not argument.free and getattr(args, argument.name) != argument.value
    ]
    problems += [
        f"{_flag(name)} is {chosen[name]}, which no spec can say" for name in sorted(_OTHER_MODELS & set(chosen))
    ]
    if problems:
        raise BuildError(
            f"Megatron-LM's arguments contradict {graph.name}: {'; '.join(problems)}. "
            "Take what megatron_arguments(graph) returns, and change the spec, not the run"
        )
    decided = transformer_settings(graph.decoder().config).keys()
    free = {argument.name for argument in expected if argument.free} & decided
    kept = {name: value for name, value in chosen.items() if name not in decided | _OURS}
    return kept | {name: getattr(given, name) for name in (*free, "transformer_impl")}


@dataclass
class _Given(TransformerConfig):
    """What the command line gave, as it gave it: nothing is checked or derived before the spec has its say."""

    def __post_init__(self) -> None: ...


def _differs(given: TransformerConfig, field: Any) -> bool:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return getattr(given, field.name) != default


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


_OF_SOME_EXPERTS = (
    "moe_layer_freq",
    "moe_router_topk_scaling_factor",
    "moe_router_num_groups",
    "moe_router_group_topk",
)


def _arguments(graph: Graph) -> list[Argument]:
    config = graph.decoder().config
    sizes, settings = config.config, transformer_settings(config)
    tied = any(isinstance(edge, ShareEdge) for edge in graph.edges)
    zero = "layernorm_zero_centered_gamma"
    return [
        *(_valued(name, settings[name]) for name in _SIZES),
        _valued("layernorm_epsilon", settings["layernorm_epsilon"], "--norm-epsilon"),
        _valued("max_position_embeddings", sizes.max_positions),
        _valued("vocab_size", sizes.vocab_size),
        _valued("padded_vocab_size", sizes.vocab_size),
        _valued("position_embedding_type", "rope"),
        _switch("group_query_attention", on=True),
        _switch("swiglu", on=True),
        _switch(zero, on=settings[zero], flag="--apply-layernorm-1p"),
        Argument(("--disable-bias-linear",), "add_bias_linear", value=False),
        _switch("untie_embeddings_and_output_weights", on=not tied),
        *_expert_arguments(config, settings),
        *(_valued(name, settings[name], free=True) for name in FREE if name in settings),
        _valued("tokenizer_type", "NullTokenizer", free=True),
    ]


def _expert_arguments(config: Any, settings: dict[str, Any]) -> list[Argument]:
    if "num_moe_experts" not in settings:
        return [Argument((), "num_experts", value=None)]
    halves = [ffn for ffn in config.layers.feed_forwards.values() if ffn.experts is not None]
    widths = [ffn.dense.intermediate_size for ffn in halves if ffn.dense is not None]
    widths += [ffn.experts.shared.width for ffn in halves if ffn.experts.shared is not None]
    beside = [_valued("moe_shared_expert_intermediate_size", width) for width in widths[:1]]
    return [
        _valued("num_experts", settings["num_moe_experts"]),
        _valued("moe_router_topk", settings["moe_router_topk"]),
        _valued("moe_ffn_hidden_size", settings["moe_ffn_hidden_size"]),
        _valued("moe_router_score_function", settings["moe_router_score_function"]),
        _switch("moe_router_pre_softmax", on=settings["moe_router_pre_softmax"]),
        *(_valued(name, settings[name]) for name in _OF_SOME_EXPERTS if name in settings),
        *(_switch(name, on=True) for name in ("moe_apply_probs_on_input",) if name in settings),
        *beside,
    ]


def _valued(name: str, value: Any, flag: str | None = None, *, free: bool = False) -> Argument:
    return Argument((flag or _flag(name), str(value)), name, value, free)


def _switch(name: str, *, on: bool, flag: str | None = None) -> Argument:
    return Argument((flag or _flag(name),) if on else (), name, on)


_SIZES = (
    "num_layers",
    "hidden_size",
    "num_attention_heads",
    "num_query_groups",
    "kv_channels",
    "ffn_hidden_size",
    "normalization",
)
# Fields that are on by default for Megatron-LM's own layers, or that `build` sets by itself.
_OURS = {
    "apply_rope_fusion",
    "bias_activation_fusion",
    "bias_dropout_fusion",
    "inference_cuda_graph_scope",
    "inference_sampling_seed",
    "masked_softmax_fusion",
    "moe_shared_expert_intermediate_size",
    "params_dtype",
    "persist_layer_norm",
    "pipeline_dtype",
}
# Switches of Megatron-LM's own decoders; a composed one would not notice them.
_OTHER_MODELS = {
    "add_qkv_bias",
    "apply_residual_connection_post_layernorm",
    "attention_output_gate",
    "experimental_attention_variant",
    "is_hybrid_model",
    "moe_latent_size",
    "moe_layer_freq",
    "moe_router_enable_expert_bias",
    "moe_router_group_topk",
    "moe_router_num_groups",
    "moe_router_topk_scaling_factor",
    "moe_shared_expert_gate",
    "mrope_section",
    "mtp_num_layers",
    "multi_latent_attention",
    "no_rope_freq",
    "qk_l2_norm",
    "qk_layernorm",
    "rotary_interleaved",
    "softmax_scale",
    "softmax_type",
    "use_mup",
    "window_attn_skip_freq",
    "window_size",
}
