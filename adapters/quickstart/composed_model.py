"""The quickstart's model that nobody released: two small checkpoints that transformers writes, joined by a projector.

Both are random: nothing of what is learned was there before. The pair of towers is saved whole, so that half of its
tensors are of no use here, as with released pairs.
"""

from pathlib import Path
from typing import Any

from adapters.huggingface.configured import load_configured
from adapters.quickstart.recipe import Recipe
from adapters.quickstart.tokenizer import SPECIAL
from adapters.training.settings import ChatTemplate, OptimizerSettings, PictureSettings, Stage, Training
from composer import Graph

VOCAB_SIZE = 320
WORDS = tuple(token for token in SPECIAL if token != "<image>")  # noqa: S105 (that one is new)
SIDE_PX, PATCH_PX = 32, 8

TOWER: dict[str, Any] = {
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "image_size": SIDE_PX,
    "patch_size": PATCH_PX,
}
TOWER_OF_WORDS: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "projection_size": 96,
    "vocab_size": VOCAB_SIZE,
}
TEXT: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 192,
    "moe_intermediate_size": 96,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "norm_topk_prob": True,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,  # about 1 / √96: embeddings then have RMS 1, as large as what a fresh layer adds
    "tie_word_embeddings": False,
}


def write_sources(folder: Path, seed: int) -> None:
    """Have transformers write `folder/tower`, a pair of towers, and `folder/text`, a text model; both random."""
    import torch
    import transformers

    from adapters.parity.oracle import no_progress_bars
    from components.vision.initialisation import initialise_tower

    special: dict[str, Any] = {f"{name}_token_id": WORDS.index(f"<{name}>") for name in ("pad", "bos", "eos")}
    torch.manual_seed(seed)
    pair: Any = transformers.SiglipModel(
        transformers.SiglipConfig(vision_config=TOWER, text_config=TOWER_OF_WORDS | special)
    )
    initialise_tower(pair.vision_model)
    text = transformers.Qwen3MoeForCausalLM(transformers.Qwen3MoeConfig(**TEXT, **special))
    with no_progress_bars():
        pair.save_pretrained(folder / "tower")
        text.save_pretrained(folder / "text")


def load_graph(spec: Path, folder: Path, seed: int) -> Graph:
    """The spec, put together from the two."""
    write_sources(folder, seed)
    return load_configured(spec, f"vision_config={folder / 'tower'},text_config={folder / 'text'}")


def training_settings(seed: int) -> Training:
    """The spec's two stages: first the projector alone, shortly; then everything."""
    return Training(
        stages=(
            Stage("align", steps=40, trains=("projector",), lr=2e-3, warmup_steps=5),
            Stage("all", steps=1500, trains=("all",)),
        ),
        micro_batch=32,
        global_batch=32,
        max_length=64,
        seed=seed,
        print_every=100,
        optimizer=OptimizerSettings(lr=1.5e-3, warmup_steps=50, beta2=0.99),
        pictures=PictureSettings(fit="stretch"),
        chat=ChatTemplate(image="<image_begins>{placeholders}<image_ends>"),
    )


RECIPE = Recipe(load_graph, training_settings, VOCAB_SIZE, WORDS, lengths=(2,), target=0.8)
