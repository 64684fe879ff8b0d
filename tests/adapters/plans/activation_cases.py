"""Settings in which activations are counted, and the models and batches they are counted on."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Tensor

from adapters.parity.tiny import shrink
from components.language.delta_net_declaration import DeltaNet
from composer import Graph, load
from composer.edges import MaskEdge
from composer.masks import parse
from composer.plans.layout import Layout

SPECS = Path(__file__).parents[3] / "specs"
SIDE = 4  # of a picture, in feature rows
ALL = ("vision_tower", "embed_vision", "language_model")


@frozen
class Case:
    """images: of each sample. trains: nodes. model: `experts`, `dense`, `capped` (dense, scores too), `latent` (dense),
    `latent experts`, `delta` (nets, and gated attention); `shared` and `sets` are experts with what else mixtures have.
    by_blocks: attention goes block by block, as it does on longer sequences than fit these tests.
    """

    name: str
    layout: Layout = Layout()
    model: str = "experts"
    precision: str = "fp32"
    seq: int = 128
    micro_batch: int = 2
    images: int = 2
    trains: tuple[str, ...] = ALL
    by_blocks: bool = False


SP: dict[str, Any] = {"tp": 2, "sequence_parallel": True}
DECODER = ("language_model",)
FROZEN_TOWER = ("embed_vision", "language_model")
EXPERTS = "nodes.language_model.layers.every.ffn.experts"
OVERRIDES = {
    "capped": ("nodes.language_model.layers.every.attention.softcap=2.0",),
    "shared": (
        f"{EXPERTS}.shared={{intermediate_size: 28, count: 2, gate: sigmoid}}",
        f"{EXPERTS}.router={{score: sigmoid, bias: learned_correction, groups: 4, group_top_k: 2, scaling: 2.5}}",
    ),
    "sets": (
        f"{EXPERTS}.sets={{pictures: {{tokens: [image], intermediate_size: 48}}}}",
        f"{EXPERTS}.top_k=1",
        f"{EXPERTS}.router={{score: sigmoid, renormalise: false, apply: input}}",
    ),
}
AGAIN: dict[str, Any] = {"recompute": "selective"}
ALONE = (
    Case("plain"),
    Case("plain bf16", precision="bf16", seq=192, micro_batch=1),
    Case("dense", model="dense", seq=256),
    Case("dense bf16, frozen tower", model="dense", precision="bf16", trains=FROZEN_TOWER),
    Case("frozen tower, long", seq=256, micro_batch=1, images=3, trains=FROZEN_TOWER),
    Case("decoder alone", trains=DECODER, precision="bf16", seq=96),
    Case("projector alone", trains=("embed_vision",), seq=192),
    Case("projector alone bf16", trains=("embed_vision",), precision="bf16", model="dense"),
    Case("tower alone", trains=("vision_tower",), images=1),
    Case("no images", images=0, micro_batch=3, seq=64),
    Case("shared expert", model="shared", seq=160),
    Case("shared expert bf16", model="shared", precision="bf16", seq=224, trains=DECODER),
    Case("sets of experts", model="sets", seq=176, trains=DECODER),
    Case("attention again", Layout(**AGAIN), seq=256),
    Case("attention again bf16", Layout(**AGAIN), precision="bf16", model="dense", trains=FROZEN_TOWER),
    Case("experts again", Layout(recompute_modules=("moe",), **AGAIN), precision="bf16", micro_batch=1),
    Case("half again", Layout(recompute_modules=("mlp", "core_attn"), **AGAIN), trains=FROZEN_TOWER),
    Case("layers again", Layout(recompute="full"), trains=FROZEN_TOWER, seq=256),
    Case("capped", model="capped"),
    Case("capped bf16, frozen tower", model="capped", precision="bf16", seq=192, trains=FROZEN_TOWER),
    Case("capped, block by block", model="capped", seq=160, by_blocks=True),
    Case("delta nets", model="delta"),
    Case("delta nets bf16", model="delta", precision="bf16", seq=192, micro_batch=1),
    Case("delta nets, mixers again", Layout(**AGAIN), model="delta", trains=FROZEN_TOWER),
    Case("block by block", seq=224, micro_batch=1, by_blocks=True),
    Case("block by block bf16", model="dense", precision="bf16", seq=160, trains=FROZEN_TOWER, by_blocks=True),
    Case("layers again bf16", Layout(recompute="full"), precision="bf16", model="dense", images=1),
)
ALONE += (
    Case("latent, block by block", model="latent", seq=192, images=0, trains=DECODER, by_blocks=True),
    Case("latent bf16, block by block", model="latent", precision="bf16", images=0, trains=DECODER, by_blocks=True),
    Case("latent, attention again", Layout(**AGAIN), model="latent", seq=256, images=0, trains=DECODER),
    Case("latent experts", model="latent experts", seq=192, images=0, trains=DECODER, by_blocks=True),
    Case("latent experts bf16", model="latent experts", precision="bf16", images=0, trains=DECODER, by_blocks=True),
)
PEAKS = [
    case
    for case in ALONE
    if not case.by_blocks and ("vision_tower" not in case.trains or not case.images)
    # torch's CPU has no fused kernel for values narrower than keys: its moment is not that of a GPU.
    if not case.model.startswith("latent")
]
"""Settings in which whole steps are followed: what lives for a moment within towers is not planned."""
TOGETHER = (
    Case("tp2 dense", Layout(tp=2), model="dense"),
    Case("tp2 dense bf16, frozen tower", Layout(tp=2), model="dense", precision="bf16", trains=FROZEN_TOWER, seq=256),
    Case("tp2 capped bf16", Layout(tp=2), model="capped", precision="bf16"),
    Case("tp2sp", Layout(**SP), seq=192),
    Case("tp2sp bf16, attention again", Layout(**SP, **AGAIN), precision="bf16"),
    Case("tp2sp, odd images", Layout(**SP), micro_batch=1, images=3, model="dense"),
    Case("cp2 dense", Layout(cp=2), model="dense", seq=256),
    Case("cp2 bf16", Layout(cp=2), precision="bf16", seq=192, trains=FROZEN_TOWER),
    Case("tp2sp delta nets", Layout(**SP), model="delta"),
    Case("cp2 delta nets bf16", Layout(cp=2), model="delta", precision="bf16", seq=128, trains=FROZEN_TOWER),
    Case("cp2, layers again", Layout(cp=2, recompute="full"), micro_batch=1),
    Case("pp2", Layout(pp=2)),
    Case("pp2 bf16, frozen tower", Layout(pp=2), precision="bf16", seq=192, trains=FROZEN_TOWER),
    Case(
        "pp2, decoder alone, half again", Layout(pp=2, recompute_modules=("mlp",), **AGAIN), trains=("language_model",)
    ),
    Case("ep2", Layout(ep=2), seq=256),
    Case("ep2 bf16, frozen tower", Layout(ep=2), precision="bf16", trains=FROZEN_TOWER),
    Case("ep2 tp2sp", Layout(ep=2, **SP), micro_batch=4),
    Case("etp2 tp2sp bf16", Layout(etp=2, **SP), precision="bf16", trains=FROZEN_TOWER),
)
TOGETHER += (
    Case("latent tp2sp", Layout(**SP), model="latent", seq=192, images=0, trains=DECODER, by_blocks=True),
    Case("latent cp2", Layout(cp=2), model="latent", seq=256, images=0, trains=DECODER, by_blocks=True),
    Case("latent cp2, attention again", Layout(cp=2, **AGAIN), model="latent", seq=192, images=0, trains=DECODER),
)


@cache
def graph_of(model: str) -> Graph:
    """Four layers of both kinds; widths that are far apart, so that no term hides behind another."""
    if model in ("latent", "latent experts"):
        return _latent(dense=4 if model == "latent" else 1)
    config: dict[str, Any] = shrink(json.loads((SPECS / "configs" / "gemma4_26b_a4b.json").read_text(encoding="utf-8")))
    kinds = ["sliding_attention", "full_attention"] * 2
    text = config["text_config"] | {
        "hidden_size": 96,
        "intermediate_size": 160,
        "num_attention_heads": 4,
        "vocab_size": 640,
        "sliding_window": 32,
        "max_position_embeddings": 4096,
        "layer_types": kinds,
        "num_hidden_layers": len(kinds),
    }
    text["kinds"]["sliding_attention"] |= {"head_dim": 16, "num_key_value_heads": 4}
    text["kinds"]["full_attention"] |= {"head_dim": 32, "num_key_value_heads": 2}
    if model not in ("dense", "capped"):
        text |= {"moe_intermediate_size": 48, "num_experts": 8, "top_k_experts": 2}
    else:
        text |= {"enable_moe_block": False, "attention_k_eq_v": False}
        text |= dict.fromkeys(("moe_intermediate_size", "num_experts", "top_k_experts"))
    graph = load(SPECS / "gemma4_vl.yaml", hf=config | {"text_config": text}, overrides=OVERRIDES.get(model, ()))
    return _with_delta_nets(graph) if model == "delta" else graph


def _with_delta_nets(graph: Graph) -> Graph:
    """The same with delta nets in place of one kind's attention, and gates in the other's."""
    decoder = graph.decoder()
    kinds = dict(decoder.config.layers.kinds)
    mixer = DeltaNet(key_heads=4, value_heads=8, key_dim=24, value_dim=20)
    gated = kinds["sliding_attention"]
    kinds["sliding_attention"] = evolve(gated, attention=evolve(gated.attention, output_gate="sigmoid"))
    kinds["full_attention"] = evolve(kinds["full_attention"], attention=None, rope=None, delta_net=mixer)
    layers = evolve(decoder.config.layers, kinds=kinds)
    nodes = graph.nodes | {decoder.name: evolve(decoder, config=evolve(decoder.config, layers=layers))}
    causal = {kind: parse("causal") for kind in kinds}
    edges = [evolve(edge, rules=causal) if isinstance(edge, MaskEdge) else edge for edge in graph.edges]
    return evolve(graph, nodes=nodes, edges=type(graph.edges)(edges))


def _latent(dense: int) -> Graph:
    """Layers of latent attention, whose values are narrower than its keys; experts behind the first dense ones."""
    config: dict[str, Any] = shrink(json.loads((SPECS / "configs" / "kimi_k2.5.json").read_text(encoding="utf-8")))
    text = config["text_config"] | {"hidden_size": 96, "vocab_size": 640, "max_position_embeddings": 4096}
    text |= {"q_lora_rank": 40, "kv_lora_rank": 72, "qk_nope_head_dim": 24, "qk_head_dim": 32, "v_head_dim": 16}
    layers = len(text["layer_types"])
    kinds = (["dense"] * dense + ["sparse"] * layers)[:layers]
    text |= {"first_k_dense_replace": min(dense, layers), "mlp_layer_types": kinds}
    return load(SPECS / "kimi_k25.yaml", hf=config | {"text_config": text})


def batch_of(case: Case, graph: Graph) -> dict[str, Tensor]:
    """Text with pictures in it, as the model is called; the same on every rank."""
    generator = torch.Generator().manual_seed(7)
    vision = graph.hf_config["vision_config"]
    ids = torch.randint(5, 120, (case.micro_batch, case.seq), generator=generator)
    for image in range(case.images):
        ids[:, 3 + image * (SIDE**2 + 2) :][:, : SIDE**2] = graph.tokens["image"]
    batch = {"input_ids": ids, "labels": ids.roll(-1, 1), "loss_mask": torch.ones(ids.shape)}
    if count := case.images * case.micro_batch:
        patches = SIDE * vision["pooling_kernel_size"]
        line = torch.arange(patches)
        places = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).reshape(1, -1, 2).repeat(count, 1, 1)
        pixels = torch.rand(count, patches**2, 3 * vision["patch_size"] ** 2, generator=generator)
        batch |= {"pixel_values": pixels, "image_position_ids": places}
    return batch
