"""Shrink a checkpoint's plain configuration to a model of a few hundred thousand parameters, of the same structure.

Widths are capped to values that all differ, so that a transposed or swapped matrix cannot pass; switches, layer kinds
and the order in which they alternate stay as they are.
"""

from itertools import accumulate, groupby
from typing import Any

from components.feed_forward_kinds import FIELD, LAYERS_BY_NUMBER, fields_of_kinds

TEXT_CAPS = {
    "vocab_size": 256,
    "vocab_size_per_layer_input": 256,
    "max_position_embeddings": 256,
    "hidden_size": 56,
    "intermediate_size": 96,
    "moe_intermediate_size": 40,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "q_lora_rank": 28,
    "kv_lora_rank": 24,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "v_head_dim": 10,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 12,
    "linear_value_head_dim": 10,
    "sliding_window": 8,
    "intermediate_size_mlp": 112,
    "shared_expert_intermediate_size": 48,
    "query_pre_attn_scalar": 24,
    "attn_logit_softcapping": 1.0,  # scores are small, and most caps are so large that they would not show
    "num_experts": 8,
    "num_local_experts": 8,
    "n_routed_experts": 8,
    "moe_num_experts": 8,
    "top_k_experts": 2,
    "num_experts_per_tok": 2,
    "moe_k": 2,
    "n_shared_experts": 2,
    "moe_num_shared_experts": 2,
    "n_group": 4,
    "topk_group": 2,
    "attention_chunk_size": 8,
    "floor_scale": 4,
    "num_hidden_layers": 2,
}
TOWER_CAPS = {
    "hidden_size": 40,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "global_head_dim": 8,
    "image_size": 16,
    "patch_size": 4,
    "position_embedding_size": 32,
    "pos_emb_height": 8,
    "pos_emb_width": 8,
    "projector_input_dim": 48,
    "projector_output_dim": 48,
    "vision_output_dim": 48,
    "num_hidden_layers": 2,
    "depth": 2,
    "num_heads": 2,
    "num_position_embeddings": 64,
    "window_size": 16,
}
TEXT_WIDTHS = ("projection_dim", "hidden_size")
"""Fields of the whole model that repeat the text model's width."""
TOWER_WIDTHS = ("projection_hidden_size",)
"""Fields of the whole model that repeat the tower's."""
CANVASES = "image_grid_pinpoints"
TILE_SIDE = 3  # of a tile, in patches; an odd number, so that paddings are odd and even
ROWS_OF_A_PICTURE = ("mm_tokens_per_image",)
POOLED_SIDE = 4  # of a picture whose rows a projector averages to a fixed number; more of them than the window is long
OF_LAYERS = ("stage_names", "out_features", "out_indices")
"""Names of layers that a backbone may be asked for: transformers makes them of their number."""
# Narrow heads: where scores are not divided by the root of the width, wide ones attend sharply, and sharp attention
# turns rounding into errors that say nothing.
HEAD_DIMS = (8, 16, 32)
FIRST_SPECIAL_TOKEN = 128  # text of test batches stays below
PLACEHOLDERS = ("image", "video", "audio")
APART = 16  # between widths of one list
LEAST_PAIRS = 8  # of a head whose pairs are shared out to time, height and width: each has several
LAYERS = 4  # each of two kinds twice: every layer kind reads from every other, and rounding has little room to grow


def shrink(plain: dict[str, Any]) -> dict[str, Any]:
    """A plain configuration with tiny sizes; `plain` is not changed.

    Token ids beyond the tiny vocabulary move to its end, in their order; those outside the vocabulary stay outside.
    """
    tiny = {key: _part(value, _layers_read(plain)) if _is_part(value) else value for key, value in plain.items()}
    if "kinds" in tiny:
        tiny = _part(tiny)
    if any(name in tiny for name in ROWS_OF_A_PICTURE):
        tiny = _pooled(tiny)
    if CANVASES in tiny:
        tiny = _tiled(tiny, plain["vision_config"]["image_size"])
    if "text_config" in tiny:
        tiny |= {name: tiny["text_config"]["hidden_size"] for name in TEXT_WIDTHS if name in tiny}
    if "vision_config" in tiny:
        tiny |= {name: tiny["vision_config"]["hidden_size"] for name in TOWER_WIDTHS if name in tiny}
    tiny = _same_widths(plain, tiny)
    return _move_tokens(tiny, plain.get("text_config", plain).get("vocab_size"))


def _pooled(tiny: dict[str, Any]) -> dict[str, Any]:
    """Four patches become a row, as many rows as fill a square."""
    rows = {name: POOLED_SIDE**2 for name in ROWS_OF_A_PICTURE if name in tiny}
    vision = tiny["vision_config"]
    return tiny | rows | {"vision_config": vision | {"image_size": 2 * POOLED_SIDE * vision["patch_size"]}}


def _same_widths(plain: dict[str, Any], tiny: dict[str, Any]) -> dict[str, Any]:
    """A tower that makes rows of the decoder's width still does."""
    text, vision = plain.get("text_config"), plain.get("vision_config")
    if not (text and vision) or vision.get("out_hidden_size") != text["hidden_size"]:
        return tiny
    width = tiny["text_config"]["hidden_size"]
    return tiny | {"vision_config": tiny["vision_config"] | {"out_hidden_size": width}}


def _tiled(tiny: dict[str, Any], tile: int) -> dict[str, Any]:
    """Canvases of as many tiles as before; `tile` is what the side of one was."""
    vision = tiny["vision_config"]
    side = TILE_SIDE * vision["patch_size"]
    canvases = [[length * side // tile for length in canvas] for canvas in tiny[CANVASES]]
    return tiny | {CANVASES: canvases, "vision_config": vision | {"image_size": side}}


def splittable(tiny: dict[str, Any], ranks: int) -> dict[str, Any]:
    """A tiny configuration whose text heads can be shared out to `ranks` tensor-parallel ranks."""
    text = tiny.get("text_config", tiny)
    heads = ("num_attention_heads", "num_key_value_heads", "linear_num_key_heads", "linear_num_value_heads")
    wider = {name: text[name] * ranks for name in heads if text.get(name)}
    kinds = {
        name: kind | {each: kind[each] * ranks for each in heads if each in kind}
        for name, kind in text.get("kinds", {}).items()
    }
    if "head_dim" in text and text["head_dim"] is None:  # the width over the heads
        wider["hidden_size"] = text["hidden_size"] * ranks
    text = text | wider | ({"kinds": kinds} if kinds else {})
    return _same_widths(tiny, tiny | {"text_config": text}) if "text_config" in tiny else text


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and "model_type" in value


def _layers_read(plain: dict[str, Any]) -> int:
    """How deep a tower must be for the layers that features are taken from to be there, and to differ."""
    layers = plain.get("vision_feature_layer")
    numbers = [layer for layer in (layers if isinstance(layers, list) else [layers]) if isinstance(layer, int)]
    return max(map(abs, numbers), default=0)


def _part(config: dict[str, Any], layers_read: int = 0) -> dict[str, Any]:
    """One level of the configuration: the text model's, which has kinds of layers, or a tower's."""
    config = {key: value for key, value in config.items() if key not in OF_LAYERS}
    deep = {"num_hidden_layers": max(TOWER_CAPS["num_hidden_layers"], layers_read)}
    caps = TEXT_CAPS if "kinds" in config else TOWER_CAPS | deep
    tiny = {key: _capped(value, caps[key]) if key in caps and value else value for key, value in config.items()}
    if config.get("num_key_value_heads") == config.get("num_attention_heads"):
        tiny |= {key: tiny["num_attention_heads"] for key in ["num_key_value_heads"] if key in tiny}
    if "kinds" not in config and config.get("head_dim") and "num_key_value_heads" not in config:
        # As many keys as queries, and no more to say: such towers split their width over the heads.
        tiny["head_dim"] = tiny["hidden_size"] // tiny["num_attention_heads"]
    if "qk_head_dim" in config:
        tiny["qk_head_dim"] = tiny["qk_nope_head_dim"] + tiny["qk_rope_head_dim"]
    if (ratio := config.get("pixel_shuffle_ratio")) and "intermediate_size" in tiny:
        # Blocks of the grid, features side by side, go through networks of the layers' own width.
        tiny["intermediate_size"] = int(tiny["hidden_size"] / ratio**2)
    if config.get("layer_types"):
        tiny |= _fewer_layers(config)
    if config.get("fullatt_block_indexes"):
        tiny["fullatt_block_indexes"] = [tiny["depth"] - 1]
    if config.get("deepstack_visual_indexes"):
        tiny["deepstack_visual_indexes"] = list(range(tiny["depth"]))
    if "kinds" in config:
        derived = "head_dim" in config and config["head_dim"] is None
        width = tiny["hidden_size"] // tiny["num_attention_heads"] if derived else None
        tiny["kinds"] = _kinds(config["kinds"], config.get("num_attention_heads"), width)
    return tiny


def _capped(value: Any, cap: int) -> Any:
    """A size, or a list of them (height and width, or widths of several networks, which still differ)."""
    if not isinstance(value, list):
        return min(value, cap)
    ranks = sorted(set(value), reverse=True)
    return [min(each, cap - APART * ranks.index(each)) for each in value]


def _fewer_layers(config: dict[str, Any]) -> dict[str, Any]:
    """The fields that say something of every layer, of `LAYERS` of them."""
    layer_types = config["layer_types"]
    feed_forwards = config.get(FIELD) or [""] * len(layer_types)
    kept = _shorten(list(zip(layer_types, feed_forwards, strict=True)))
    fewer: dict[str, Any] = {
        key: [value[layer] for layer in kept]
        for key, value in config.items()
        if key.endswith(("_layers", "_types")) and key not in LAYERS_BY_NUMBER
        if isinstance(value, list) and len(value) == len(layer_types)
    }
    fewer["num_hidden_layers"] = len(kept)
    return fewer | (fields_of_kinds(config, fewer[FIELD]) if FIELD in fewer else {})


def _shorten(layers: list[tuple[str, str]]) -> list[int]:
    """The layers to keep: the first of each of the first stretches of one kind; the last is repeated.

    Where that would lose a kind of attention or of feed-forward, one layer of each combination.
    """
    first = list(accumulate((len(list(run)) for _, run in groupby(layers)), initial=0))[:-1][:LAYERS]
    if any({layers[layer][side] for layer in first} != {each[side] for each in layers} for side in (0, 1)):
        first = [layers.index(each) for each in dict.fromkeys(layers)][:LAYERS]
    return first + [first[-1]] * (LAYERS - len(first))


def _kinds(kinds: dict[str, dict[str, Any]], query_heads: int | None, derived: int | None) -> dict[str, dict[str, Any]]:
    """Kinds that differ still differ, and in the same direction; as many keys as queries stay so.

    Args:
        kinds: of the text model.
        query_heads: of the text model before it was shrunk.
        derived: width of a head where the configuration leaves it open.
    """
    dims = sorted({kind["head_dim"] for kind in kinds.values() if "head_dim" in kind})
    heads = sorted({kind["num_key_value_heads"] for kind in kinds.values() if "num_key_value_heads" in kind})
    small = {}
    for name, kind in kinds.items():
        small[name] = dict(kind)
        if "head_dim" in kind:
            small[name]["head_dim"] = derived or HEAD_DIMS[dims.index(kind["head_dim"])]
            if kind.get("rope") and kind["rope"].get("mrope_section"):
                small[name] |= _shared_out(small[name], fixed=derived is not None)
        if "num_key_value_heads" in kind:
            from_largest = len(heads) - 1 - heads.index(kind["num_key_value_heads"])
            fewer = max(TEXT_CAPS["num_key_value_heads"] >> from_largest, 1)
            every = kind["num_key_value_heads"] == query_heads
            small[name]["num_key_value_heads"] = TEXT_CAPS["num_attention_heads"] if every else fewer
    return small


def _shared_out(kind: dict[str, Any], *, fixed: bool) -> dict[str, Any]:
    """A head whose pairs are shared out to time, height and width in about the same shares, wider if need be."""
    sections, share = kind["rope"]["mrope_section"], kind["rope"].get("partial_rotary_factor") or 1.0
    width = kind["head_dim"]
    while not fixed and int(width * share) // 2 < LEAST_PAIRS:
        width *= 2
    pairs = int(width * share) // 2
    exact = [section * pairs / sum(sections) for section in sections]
    small = [int(each) for each in exact]
    by_rest = sorted(range(len(small)), key=lambda index: small[index] - exact[index])
    # Sections of one length stay so where that is possible: axes may take turns.
    alike = [[other for other in by_rest if sections[other] == sections[index]] for index in by_rest]
    for group in [*alike, *([index] for index in by_rest)]:
        if len(group) <= pairs - sum(small) and all(small[index] < exact[index] for index in group):
            for index in group:
                small[index] += 1
    return {"head_dim": width, "rope": kind["rope"] | {"mrope_section": small}}


def _move_tokens(config: dict[str, Any], words: int | None) -> dict[str, Any]:
    """words: of the vocabulary before it became tiny."""
    special = sorted({token for level in _levels(config) for key in level for token in _tokens(key, level[key])})
    inside = sum(words is None or token < words for token in special)
    moved = {token: TEXT_CAPS["vocab_size"] - inside + rank for rank, token in enumerate(special)}

    def move(level: dict[str, Any]) -> dict[str, Any]:
        return {
            key: move(value) if _is_part(value) else _replaced(value, moved) if _tokens(key, value) else value
            for key, value in level.items()
        }

    return move(config)


def _levels(config: dict[str, Any]) -> list[dict[str, Any]]:
    return [config, *(value for value in config.values() if _is_part(value))]


def _tokens(key: str, value: Any) -> list[int]:
    """Token ids under this key that do not fit below the special ones, and placeholders, which no text may hold."""
    if not key.endswith(("token_id", "token_index")):
        return []
    least = 1 if key.startswith(PLACEHOLDERS) else FIRST_SPECIAL_TOKEN
    return [token for token in (value if isinstance(value, list) else [value]) if (token or 0) >= least]


def _replaced(value: Any, moved: dict[int, int]) -> Any:
    return [moved.get(token, token) for token in value] if isinstance(value, list) else moved.get(value, value)
