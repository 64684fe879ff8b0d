"""The quickstart's model: the shipped Gemma 4 spec at sizes that train on two cores, and its training settings."""

from pathlib import Path

from adapters.quickstart.data import LENGTHS
from adapters.quickstart.recipe import Recipe
from adapters.quickstart.tokenizer import SPECIAL
from adapters.training.settings import ChatTemplate, OptimizerSettings, PictureSettings, Stage, Training
from composer import Graph, load

VOCAB_SIZE = 320
PATCH_PX, POOL = 8, 2

TEXT_SIZES = {
    "vocab_size": VOCAB_SIZE,
    "vocab_size_per_layer_input": VOCAB_SIZE,
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "layer_types": "[sliding_attention, full_attention, full_attention]",
    "num_attention_heads": 6,
    "intermediate_size": 192,
    "num_experts": 4,
    "top_k_experts": 2,
    "moe_intermediate_size": 96,
    "sliding_window": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,  # about 1 / √96: embeddings then have RMS 1, as large as what a fresh layer adds
    "kinds.sliding_attention.head_dim": 16,
    "kinds.sliding_attention.num_key_value_heads": 2,
    "kinds.full_attention.head_dim": 32,
    "kinds.full_attention.num_key_value_heads": 1,
}
VISION_SIZES = {
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 24,
    "global_head_dim": 24,
    "intermediate_size": 256,
    "patch_size": PATCH_PX,
    "pooling_kernel_size": POOL,
    "position_embedding_size": 64,
}
TOKENS = {
    "text_config.pad_token_id": "<pad>",
    "text_config.eos_token_id": "<eos>",
    "text_config.bos_token_id": "<bos>",
    "eos_token_id": "<eos>",
    "image_token_id": "<image>",
    "boi_token_id": "<image_begins>",
    "eoi_token_id": "<image_ends>",
    "video_token_id": "<video>",
    "audio_token_id": "<audio>",
    "boa_token_id": "<audio_begins>",
    "eoa_token_id": "<audio_ends>",
    "eoa_token_index": "<audio_ends>",
}


def overrides() -> list[str]:
    """What `--set` would be given on the command line to make the 26B-A4B this small."""
    sizes = {
        **{f"text_config.{field}": value for field, value in TEXT_SIZES.items()},
        **{f"vision_config.{field}": value for field, value in VISION_SIZES.items()},
        **{field: SPECIAL.index(token) for field, token in TOKENS.items()},
    }
    return [f"hf.{field}={value}" for field, value in sizes.items()]


def load_graph(spec: Path, _folder: Path | None = None, _seed: int = 0) -> Graph:
    """The spec at these sizes; everything else, experts, both layer kinds and image runs, is as in the 26B-A4B."""
    return load(spec, overrides=overrides())


def training_settings(seed: int) -> Training:
    """First the projector alone, shortly; then everything."""
    return Training(
        stages=(
            Stage("align", steps=40, trains=("embed_vision",), lr=2e-3, warmup_steps=5),
            Stage("read", steps=2000, trains=("vision_tower", "embed_vision", "language_model")),
        ),
        micro_batch=32,
        global_batch=32,
        max_length=64,
        seed=seed,
        print_every=100,
        optimizer=OptimizerSettings(lr=1.5e-3, warmup_steps=50, beta2=0.99),
        pictures=PictureSettings(max_features=16, resize="shrink"),
        chat=ChatTemplate(image="<image_begins>{placeholders}<image_ends>"),
    )


RECIPE = Recipe(load_graph, training_settings, VOCAB_SIZE, SPECIAL, LENGTHS, target=0.85)
