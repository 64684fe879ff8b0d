"""Parts of mixtures in decoders of transformers that have them: choices, shared experts, dense layers among sparse."""

from pathlib import Path

import pytest
from transformers import Dots1Config, InternVLConfig, Qwen2MoeConfig

from adapters.huggingface.config import plain
from adapters.parity import measure_graph
from adapters.parity.tiny import shrink
from composer import Graph, load

SPEC = Path(__file__).with_name("mixtures.yaml")
DECODER = "nodes.language_model"
ATTENTION = f"{DECODER}.layers.kinds.full_attention.attention"
EXPERTS = f"{DECODER}.layers.ffns.sparse.experts"

SIZES = {"num_hidden_layers": 6, "hidden_size": 512, "moe_intermediate_size": 256, "intermediate_size": 1024}
SIZES |= {"num_attention_heads": 16, "num_key_value_heads": 8, "pad_token_id": 0}
GATED = (
    Qwen2MoeConfig(**SIZES, mlp_only_layers=[2], num_experts=16, norm_topk_prob=False),
    (
        f"{ATTENTION}.bias=true",
        f"{EXPERTS}={{num_experts: 8, top_k: 2, intermediate_size: 40}}",
        f"{EXPERTS}.router.renormalise=false",
        f"{EXPERTS}.shared={{intermediate_size: 48, gate: sigmoid}}",
    ),
)
GROUPED = (
    Dots1Config(
        **SIZES,
        first_k_dense_replace=2,
        n_routed_experts=16,
        num_experts_per_tok=4,
        n_shared_experts=2,
        n_group=4,
        topk_group=2,
        routed_scaling_factor=2.5,
        norm_topk_prob=True,
    ),
    (
        f"{DECODER}.names={{mlp.shared_expert: mlp.shared_experts}}",
        f"{ATTENTION}.q_norm=rms",
        f"{ATTENTION}.k_norm=rms",
        f"{EXPERTS}={{num_experts: 8, top_k: 2, intermediate_size: 40, shared: {{intermediate_size: 80}}}}",
        f"{EXPERTS}.router={{score: sigmoid, bias: learned_correction, groups: 4, group_top_k: 2, scaling: 2.5}}",
    ),
)
WRONG = {
    "another score": (GROUPED, "router.score=softmax"),
    "no groups": (GROUPED, "router={score: sigmoid, bias: learned_correction, scaling: 2.5}"),
    "one group": (GROUPED, "router.group_top_k=1"),
    "no factor": (GROUPED, "router.scaling=1.0"),
    "weights as they are": (GROUPED, "router.renormalise=false"),
    "weights that sum to one": (GATED, "router.renormalise=true"),
}


def tiny(model: tuple, overrides: tuple[str, ...] = ()) -> Graph:
    """The spec with a text model, tiny."""
    config, parts = model
    shrunk = shrink(plain(InternVLConfig(text_config=config, tie_word_embeddings=False)))
    return load(SPEC, hf=shrunk, overrides=(*parts, *overrides))


@pytest.mark.parametrize("model", [GATED, GROUPED], ids=["gated shared expert", "grouped choice"])
def test_parity(model):
    graph = tiny(model)
    assert set(graph.decoder().config.layers.ffn_order) == {"dense", "sparse"}
    report = measure_graph(graph)
    assert report.green, list(report.failures())


@pytest.mark.parametrize(("model", "part"), WRONG.values(), ids=WRONG)
def test_a_wrong_part_is_red(model, part):
    report = measure_graph(tiny(model, (f"{EXPERTS}.{part}",)))
    assert not report.green
