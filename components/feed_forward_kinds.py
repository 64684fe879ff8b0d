"""Which layers of a transformers text config are dense and which have experts, whatever fields say it.

The plain form says it as `mlp_layer_types`, "dense" or "sparse" for every layer, as newer classes do by themselves.
"""

from typing import Any

FIELD = "mlp_layer_types"
LAYERS_BY_NUMBER = ("moe_layers", "mlp_only_layers")
"""Fields that hold numbers of layers; others hold a value for every layer."""


def feed_forward_kinds(config: dict[str, Any]) -> list[str] | None:
    """The kind of every layer from the fields of classes without `mlp_layer_types`; None: they say nothing.

    Source: transformers 5.23, the decoder layers of qwen3_moe, llama4 and deepseek_v3.
    """
    layers = range(config.get("num_hidden_layers") or 0)
    if isinstance(config.get("moe_layers"), list):
        sparse = [layer in config["moe_layers"] for layer in layers]
    elif isinstance(config.get("mlp_only_layers"), list) and config.get("decoder_sparse_step"):
        experts = config.get("num_experts", config.get("num_local_experts")) or 0
        by_step = [experts > 0 and (layer + 1) % config["decoder_sparse_step"] == 0 for layer in layers]
        sparse = [by_step[layer] and layer not in config["mlp_only_layers"] for layer in layers]
    elif isinstance(config.get("first_k_dense_replace"), int):
        sparse = [layer >= config["first_k_dense_replace"] for layer in layers]
    elif not any("expert" in name for name in config):
        sparse = [False for _ in layers]
    else:
        return None
    return ["sparse" if each else "dense" for each in sparse]


def fields_of_kinds(config: dict[str, Any], kinds: list[str]) -> dict[str, Any]:
    """The fields of a config that say these kinds, one for each layer; the inverse of `feed_forward_kinds`.

    Raises:
        ValueError: the config's fields cannot say it: dense layers behind sparse ones, where they are counted.
    """
    sparse = [layer for layer, kind in enumerate(kinds) if kind == "sparse"]
    dense = [layer for layer, kind in enumerate(kinds) if kind != "sparse"]
    changed: dict[str, Any] = {FIELD: kinds}
    if isinstance(config.get("moe_layers"), list):
        changed["moe_layers"] = sparse
    elif isinstance(config.get("mlp_only_layers"), list) and config.get("decoder_sparse_step"):
        changed |= {"mlp_only_layers": dense, "decoder_sparse_step": 1}
    elif isinstance(config.get("first_k_dense_replace"), int):
        changed["first_k_dense_replace"] = len(dense)
        if dense != list(range(len(dense))):
            raise ValueError(f"first_k_dense_replace cannot say that layers {dense} are dense")
    return changed
