"""Gemma 4 VL by builder calls only: the same graph as the shipped spec."""

from typing import Any

from composer import Builder, Graph
from composer.masks import Causal


def build_gemma4(hf: dict[str, Any]) -> Graph:
    """The graph for a plain configuration, with experts or dense."""
    text, vision = hf["text_config"], hf["vision_config"]
    section = {
        "architecture": "Gemma4ForConditionalGeneration",
        "requires": "transformers>=5.23",
        "default": "configs/gemma4_26b_a4b.json",
    }
    description = (
        "Gemma 4 with a vision tower; expert or dense decoder, sliding and full layers, image runs bidirectional"
    )
    runs = text["use_bidirectional_attention"] == "vision"
    near = "(causal | same_run(image, video))" if runs else "causal"
    builder = (
        Builder("gemma4_vl", description, hf=section, hf_config=hf)
        .tokens(image=hf["image_token_id"], video=hf["video_token_id"], audio=hf["audio_token_id"])
        .input("input_ids", "tokens", ["batch", "seq"])
        .input("pixel_values", type="pixels", shape=["image", "patch", "patch_dim"], optional=True)
        .input("image_position_ids", type="positions", shape=("image", "patch", 2), optional=True)
        .node(
            "vision_tower",
            "vision.hf_tower",
            weights="model.vision_tower",
            config=vision,
            inputs={"pixel_values": ["image", "patch", "patch_dim"], "pixel_position_ids": ["image", "patch", 2]},
            out_dim=vision["hidden_size"],
            item_rows={"valid_in": "pixel_position_ids", "pool": vision["pooling_kernel_size"]},
        )
        .node(
            "embed_vision",
            "projector.hf_module",
            weights="model.embed_vision",
            class_="Gemma4MultimodalEmbedder",
            args=[vision, text],
            in_dim=vision["hidden_size"],
            out_dim=text["hidden_size"],
        )
        .node("language_model", "language.gpt", weights="model.language_model", **_decoder(text))
        .edge(
            "embed",
            "input_ids",
            "language_model.embeddings",
            scale="sqrt_hidden_size",
            replace=["image", "video", "audio"],
            row=text["pad_token_id"],
        )
        .edge("data", "pixel_values", "vision_tower.pixel_values")
        .edge("data", "image_position_ids", "vision_tower.pixel_position_ids")
        .edge("data", "vision_tower", "embed_vision.in")
        .edge("scatter", "embed_vision", "language_model.embeddings", at=["image"])
        .edge("position", "input_ids", "language_model.rotary")
        .edge(
            "mask",
            "input_ids",
            "language_model.attention_mask",
            rules={"full_attention": Causal(), "sliding_attention": f"{near} & window({text['sliding_window']})"},
        )
    )
    if hf["tie_word_embeddings"]:
        builder.edge("share", "language_model.embedding_weight", "language_model.output_weight")
    builder.stage("align", ["projector"]).stage("sft", ["all - tower"])
    return builder.check()


def _decoder(text: dict[str, Any]) -> dict[str, Any]:
    experts = {
        "num_experts": text["num_experts"],
        "top_k": text["top_k_experts"],
        "intermediate_size": text["moe_intermediate_size"],
        "router": {
            "input": "residual",
            "input_norm": "scale_free",
            "input_scale": "learned",
            "input_factor": "inv_sqrt_hidden",
            "expert_scale": "learned",
        },
    }
    return {
        "config": {
            "num_layers": text["num_hidden_layers"],
            "hidden_size": text["hidden_size"],
            "vocab_size": text["vocab_size"],
            "max_positions": text["max_position_embeddings"],
            "norm_eps": text["rms_norm_eps"],
            "activation": text["hidden_activation"],
            "logit_softcap": text["final_logit_softcapping"],
            "init_std": text["initializer_range"],
        },
        "layers": {
            "order": text["layer_types"],
            "every": {
                "norms": "sandwich",
                "output_scale": "layer_scalar",
                "attention": {
                    "heads": text["num_attention_heads"],
                    "scale": 1.0,
                    "q_norm": "rms",
                    "k_norm": "rms",
                    "v_norm": "scale_free",
                },
                "ffn": {
                    "dense": {"intermediate_size": text["intermediate_size"]},
                    "join": "sum",
                    **({"experts": experts} if text["enable_moe_block"] else {}),
                },
            },
            "kinds": {
                "sliding_attention": _kind(text["kinds"]["sliding_attention"]),
                "full_attention": _kind(text["kinds"]["full_attention"], keys_are_values=text["attention_k_eq_v"]),
            },
        },
    }


def _kind(sizes: dict[str, Any], *, keys_are_values: bool = False) -> dict[str, Any]:
    rope = {"theta": sizes["rope"]["rope_theta"]}
    if "partial_rotary_factor" in sizes["rope"]:
        rope |= {"type": "proportional", "partial": sizes["rope"]["partial_rotary_factor"]}
    attention = {"head_dim": sizes["head_dim"], "kv_heads": sizes["num_key_value_heads"]}
    return {"attention": attention | ({"values": {"keys": True}} if keys_are_values else {}), "rope": rope}
