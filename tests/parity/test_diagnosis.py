"""Break a spec in one place: the report names that place, and what transformers does there."""

import pytest

from adapters.parity import measure_graph
from tests.parity.shipped_spec import tiny_of

KIND = "nodes.language_model.layers.kinds.full_attention"
EVERY = "nodes.language_model.layers.every"
BROKEN = {
    "another layer of the tower": (
        "llava",
        "nodes.vision_tower.hidden_states.layers=-1",
        "nodes.vision_tower.hidden_states: transformers' projector reads hidden states -2 of the tower, drop first 1;",
    ),
    "a class token that stays": (
        "llava",
        "edges[2].pack=[]",
        "edges[2].pack: transformers' projector reads hidden states",
    ),
    "pack operations in another order": (
        "internvl",
        "edges[2].pack=[{pixel_shuffle: 0.5}]",
        "edges[2].pack: transformers' projector reads field last_hidden_state of the tower, drop first 1, pixel",
    ),
    "another placeholder": ("llava", "tokens.image=200", "tokens.image: transformers' placeholder is "),
    "a scale of embeddings": ("llava", "edges[0].scale=2.0", "edges[0].scale: transformers' embeddings of text are"),
    "placement that adds": ("llava", "edges[3].mode=add", "edges[3]: other rows stand at the placeholders"),
    "a mask": ("llava", "edges[5].rules.full_attention=causal | same_run(image)", "position 3 (image) see position 4"),
    "rotation": ("llava", f"{KIND}.rope.theta=5000.0", f"{KIND}.rope: queries and keys have the right lengths"),
    "rotation behind the first layer": ("gemma4_vl", f"{KIND}.rope.partial=0.5", f"{KIND}.rope: queries and keys"),
    "a factor on scores": ("llava", f"{KIND}.attention.scale=1.0", "multiplies query·key by 0.353553, the spec by 1."),
    "a cap on scores": ("llava", f"{KIND}.attention.softcap=2.0", "caps scores at nothing, the spec at 2.0."),
    "values that are normed": (
        "llava",
        f"{KIND}.attention.v_norm=scale_free",
        f"{KIND}.attention.v_norm: values differ",
    ),
    "activation": ("llava", "nodes.language_model.config.activation=gelu", "config.activation: gelu is not"),
    "epsilon": ("llava", "nodes.language_model.config.norm_eps=0.1", "config.norm_eps: language_model.decoder"),
    "a cap on logits": (
        "llava",
        "nodes.language_model.config.logit_softcap=3.0",
        "caps logits at None, the spec at 3.0",
    ),
    "choice of experts": (
        "gemma4_vl",
        f"{EVERY}.ffn.experts.router.input=normed",
        "ffn.experts.router: experts give something else",
    ),
}
UNLOADABLE = {
    "biases": (
        "internvl",
        f"{KIND}.attention.bias=false",
        f"{KIND}.attention.bias: the checkpoint's layers have self_attn",
    ),
    "norms of queries": (
        "internvl",
        f"{KIND}.attention.q_norm=rms",
        f"{KIND}.attention.q_norm: it asks for tensors that",
    ),
    "norms": (
        "gemma4_vl",
        f"{EVERY}.norms=pre",
        f"{KIND}.norms: the checkpoint's layers have post_attention_layernorm",
    ),
    "a scale of layers": ("gemma4_vl", f"{EVERY}.output_scale=none", "have layer_scalar. Say layer_scalar."),
}


@pytest.mark.parametrize(("name", "change", "named"), BROKEN.values(), ids=BROKEN)
def test_the_place_is_named(name, change, named):
    report = measure_graph(tiny_of(name, overrides=(change,)))
    assert not report.green
    assert named in "\n".join(report.look_at)
    assert len(report.look_at) == 1, report.look_at


@pytest.mark.parametrize(("name", "change", "named"), UNLOADABLE.values(), ids=UNLOADABLE)
def test_tensors_without_a_place_are_told_as_keys(name, change, named):
    report = measure_graph(tiny_of(name, overrides=(change,)))
    assert report.problem is not None
    assert named in report.problem
    assert "look at " in report.problem


def test_nothing_is_named_where_all_agrees():
    report = measure_graph(tiny_of("llava"))
    assert report.green
    assert report.look_at == ()
