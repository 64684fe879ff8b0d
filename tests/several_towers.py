"""Small models of real parts with several towers: two for pictures side by side, one for pictures and one for sound."""

from typing import Any

from transformers import Dinov2Config, SiglipVisionConfig, VoxtralEncoderConfig

from adapters.huggingface.config import plain
from composer import Builder, Graph

HIDDEN, LAYERS, VOCAB, IMAGE, AUDIO = 32, 4, 96, 90, 91
SIDE, ROWS = 16, 16
"""Of a picture in pixels, and the feature rows that each tower makes of it."""
MELS, FRAMES, SOUND_ROWS = 8, 24, 12
SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2}
PICTURE = {"pixel_values": ["image", 3, SIDE, SIDE]}


def two_vision_towers(second_drops: int = 1, in_dim: int = 64) -> Graph:
    """A SigLIP tower, 24 wide, and a DINOv2 tower, 40 wide, whose class token goes, read the same pictures."""
    siglip = SiglipVisionConfig(
        hidden_size=24, intermediate_size=48, image_size=SIDE, patch_size=4, vision_use_head=False, **SIZES
    )
    dinov2 = Dinov2Config(hidden_size=40, mlp_ratio=2, image_size=SIDE, patch_size=4, use_mask_token=False, **SIZES)
    pack = [{"drop_first": second_drops}] if second_drops else []
    return (
        _begun("two_vision_towers", image=IMAGE)
        .input("pixel_values", "pixels", ["image", 3, SIDE, SIDE], optional=True)
        .node("siglip", "vision.hf_tower", weights="siglip", config=plain(siglip), inputs=PICTURE, out_dim=24)
        .node("dinov2", "vision.hf_tower", weights="dinov2", config=plain(dinov2), inputs=PICTURE, out_dim=40)
        .node("projector", "projector.mlp", weights="projector", in_dim=in_dim, out_dim=HIDDEN)
        .edge("data", "pixel_values", "siglip.pixel_values")
        .edge("data", "pixel_values", "dinov2.pixel_values")
        .edge("data", "siglip", "projector")
        .edge("data", "dinov2", "projector", pack=pack, beside=True)
        .edge("scatter", "projector", "decoder.embeddings", at=["image"])
        .check()
    )


def vision_and_audio() -> Graph:
    """A SigLIP tower for pictures and Voxtral's for sound, each with a projector and a placeholder of its own."""
    siglip = SiglipVisionConfig(
        hidden_size=24, intermediate_size=48, image_size=SIDE, patch_size=4, vision_use_head=False, **SIZES
    )
    sound = VoxtralEncoderConfig(
        hidden_size=40, intermediate_size=48, num_mel_bins=MELS, max_source_positions=SOUND_ROWS, **SIZES
    )
    heard = {"input_features": ["audio", MELS, FRAMES]}
    return (
        _begun("vision_and_audio", image=IMAGE, audio=AUDIO)
        .input("pixel_values", "pixels", ["image", 3, SIDE, SIDE], optional=True)
        .input("input_features", "features", ["audio", MELS, FRAMES], optional=True)
        .node("vision", "vision.hf_tower", weights="vision", config=plain(siglip), inputs=PICTURE, out_dim=24)
        .node("audio_tower", "vision.hf_tower", weights="audio", config=plain(sound), inputs=heard, out_dim=40)
        .node("see", "projector.mlp", weights="see", in_dim=24, out_dim=HIDDEN)
        .node("hear", "projector.mlp", weights="hear", in_dim=40, out_dim=HIDDEN, depth=1, norm="rms")
        .edge("data", "pixel_values", "vision.pixel_values")
        .edge("data", "input_features", "audio_tower.input_features")
        .edge("data", "vision", "see")
        .edge("data", "audio_tower", "hear")
        .edge("scatter", "see", "decoder.embeddings", at=["image"])
        .edge("scatter", "hear", "decoder.embeddings", at=["audio"])
        .check()
    )


def _begun(name: str, **tokens: int) -> Builder:
    layer = {
        "attention": {"heads": 4, "kv_heads": 2, "head_dim": 8},
        "rope": {"theta": 1e4},
        "ffn": {"dense": {"intermediate_size": 48}},
    }
    sizes = {"num_layers": LAYERS, "hidden_size": HIDDEN, "vocab_size": VOCAB, "max_positions": 64}
    layers: dict[str, Any] = {"order": ["full"] * LAYERS, "kinds": {"full": layer}}
    return (
        Builder(name)
        .tokens(**tokens)
        .input("input_ids", "tokens", ["batch", "seq"])
        .node("decoder", "language.gpt", weights="text", config=sizes, layers=layers)
        .edge("embed", "input_ids", "decoder.embeddings")
        .edge("position", "input_ids", "decoder.rotary")
        .edge("mask", "input_ids", "decoder.attention_mask", rules={"full": "causal"})
    )
