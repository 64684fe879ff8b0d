"""Take any one part out and parity is red. All weights are perturbed, so no part is at rest.

Parts with weights are taken out of the built model, after import; others by a change of the spec.
"""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from adapters.parity import measure_graph
from adapters.parity.oracle import oracle_logits
from adapters.parity.pair import logits, wrong_part
from adapters.parity.report import LOGITS_BOUND, relative_error
from tests.parity.shipped_spec import tiny_graph

SLIDING, FULL = 0, 1  # layer indices of the tiny model
LAYER = "language_model.decoder.layers"

NORMS = [
    f"{LAYER}.{layer}.{norm}"
    for layer in (SLIDING, FULL)
    for norm in (
        "input_layernorm",
        "self_attention.q_norm",
        "self_attention.k_norm",
        "self_attention.v_norm",
        "self_attention.output_norm",
        "mlp.input_norm",
        "mlp.dense_norm",
        "mlp.experts_norm",
        "mlp.output_norm",
    )
]


@contextmanager
def replaced(owner, name, value):
    kept = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, kept)


@contextmanager
def ones(tensor):
    kept = tensor.detach().clone()
    with torch.no_grad():
        tensor.fill_(1)
    try:
        yield
    finally:
        with torch.no_grad():
            tensor.copy_(kept)


@contextmanager
def zeros(tensor):
    kept = tensor.detach().clone()
    with torch.no_grad():
        tensor.zero_()
    try:
        yield
    finally:
        with torch.no_grad():
            tensor.copy_(kept)


def layer(pair, index):
    return pair.ours.language_model.decoder.layers[index]


def error(pair):
    valid = pair.batch.attention_mask
    with torch.no_grad():
        return relative_error(logits(pair.ours, pair.batch)[valid], oracle_logits(pair.oracle, pair.batch)[valid])


def owner_of(pair, path):
    parent, _, name = path.rpartition(".")
    return pair.ours.get_submodule(parent), name


@pytest.mark.parametrize("path", NORMS)
def test_without_a_norm(experts, path):
    owner, name = owner_of(experts, path)
    with replaced(owner, name, nn.Identity()):
        assert error(experts) > LOGITS_BOUND
    assert error(experts) <= LOGITS_BOUND


@pytest.mark.parametrize("layer_index", [SLIDING, FULL])
def test_without_the_experts_own_input_norm(experts, layer_index):
    half = layer(experts, layer_index).mlp
    # An Identity there means, to this half, that experts share the dense branch's norm.
    with replaced(half, "experts_input_norm", nn.Identity()):
        assert error(experts) > LOGITS_BOUND
    with replaced(half, "experts_input_norm", nn.Sequential()):
        assert error(experts) > LOGITS_BOUND


def test_without_the_final_norm(dense):
    with replaced(dense.ours.language_model.decoder, "final_layernorm", nn.Identity()):
        assert error(dense) > LOGITS_BOUND


def test_without_the_projectors_norm(experts):
    path = next(name for name, _ in experts.ours.named_modules() if name.endswith("embedding_pre_projection_norm"))
    owner, name = owner_of(experts, path)
    with replaced(owner, name, nn.Identity()):
        assert error(experts) > LOGITS_BOUND


@pytest.mark.parametrize("name", [path for path in NORMS if not path.endswith("v_norm")])
def test_without_a_norms_scale(experts, name):
    with ones(experts.ours.get_submodule(name).weight):
        assert error(experts) > LOGITS_BOUND


@pytest.mark.parametrize("layer_index", [SLIDING, FULL])
def test_without_the_layer_scale(experts, layer_index):
    with ones(layer(experts, layer_index).output_scale):
        assert error(experts) > LOGITS_BOUND


@pytest.mark.parametrize("part", ["input_norm", "input_scale", "input_factor", "expert_scale"])
@pytest.mark.parametrize("layer_index", [SLIDING, FULL])
def test_without_a_router_step(experts, layer_index, part):
    with replaced(layer(experts, layer_index).mlp.experts.router, part, None):
        assert error(experts) > LOGITS_BOUND


@pytest.mark.parametrize("weight", ["dense.linear_fc2", "experts.experts.local_experts.0.linear_fc2"])
def test_without_a_branch(experts, weight):
    with zeros(layer(experts, SLIDING).mlp.get_submodule(weight).weight):
        assert error(experts) > LOGITS_BOUND


def test_without_the_softcap(dense):
    with replaced(dense.ours.language_model, "softcap", None):
        assert error(dense) > LOGITS_BOUND
        assert "softcap" in wrong_part(dense)


DECODER = "nodes.language_model"
SLIDING_RULE = "edges[6].rules.sliding_attention"
CHANGES = {
    "embedding scale": "edges[0].scale=1.0",
    "scatter replaces": "edges[4].mode=add",
    "attention scale": f"{DECODER}.layers.every.attention.scale=null",
    "activation": f"{DECODER}.config.activation=gelu",
    "softcap": f"{DECODER}.config.logit_softcap=null",
    "router renormalises": f"{DECODER}.layers.every.ffn.experts.router.renormalise=false",
    "router reads the residual": f"{DECODER}.layers.every.ffn.experts.router.input=normed",
    "router input norm": f"{DECODER}.layers.every.ffn.experts.router.input_norm=none",
    "router input factor": f"{DECODER}.layers.every.ffn.experts.router.input_factor=none",
    "value norm": f"{DECODER}.layers.every.attention.v_norm=none",
    "rope of full layers is proportional": f"{DECODER}.layers.kinds.full_attention.rope={{theta: 1000000.0}}",
    "rope of sliding layers is not": (
        f"{DECODER}.layers.kinds.sliding_attention.rope={{theta: 10000.0, type: proportional, partial: 0.5}}"
    ),
    "rope turns a part of full layers": f"{DECODER}.layers.kinds.full_attention.rope.partial=0.5",
    "rope base of full layers": f"{DECODER}.layers.kinds.full_attention.rope.theta=10000.0",
    "rope base of sliding layers": f"{DECODER}.layers.kinds.sliding_attention.rope.theta=1000000.0",
    "window": f"{SLIDING_RULE}=causal | same_run(image, video)",
    "window size": f"{SLIDING_RULE}=(causal | same_run(image, video)) & window(7)",
    "run": f"{SLIDING_RULE}=causal & window(8)",
    "run inside the window": f"{SLIDING_RULE}=causal & window(8) | same_run(image, video)",
    "no run in full layers": "edges[6].rules.full_attention=causal | same_run(image, video)",
    "causal full layers": "edges[6].rules.full_attention=bidirectional",
}
UNLOADABLE = {
    "query norm": (f"{DECODER}.layers.every.attention.q_norm=none", "q_norm"),
    "key norm": (f"{DECODER}.layers.every.attention.k_norm=none", "k_norm"),
    "sandwich norms": (f"{DECODER}.layers.every.norms=pre", "feedforward_layernorm"),
    "layer scale": (f"{DECODER}.layers.every.output_scale=none", "layer_scalar"),
    "router scale": (f"{DECODER}.layers.every.ffn.experts.router.input_scale=none", "router.scale"),
    "expert scale": (f"{DECODER}.layers.every.ffn.experts.router.expert_scale=none", "per_expert_scale"),
    "branch norms": (f"{DECODER}.layers.every.ffn.branch_norms=false", "layernorm_1"),
    "values are keys": (f"{DECODER}.layers.kinds.full_attention.attention.values={{keys: false}}", "v_proj"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_spec_is_red_and_the_place_is_named(change):
    report = measure_graph(tiny_graph(0, (CHANGES[change],)))
    assert not report.green
    assert report.problem is None, report.problem
    assert not report.logits.passed
    assert report.wrong_part


@pytest.mark.parametrize("change", UNLOADABLE)
def test_a_part_less_leaves_weights_without_a_place(change):
    override, name = UNLOADABLE[change]
    report = measure_graph(tiny_graph(0, (override,)))
    assert not report.green
    assert name in report.problem


def test_normed_keys_are_not_values(dense):
    """K = V takes the keys before their norm."""
    attention = layer(dense, FULL).self_attention
    assert attention.part.values.keys
    heads = attention._heads

    def normed(hidden_states):
        query, gate, key, _ = heads(hidden_states)
        return query, gate, key, attention.k_norm(key)

    with replaced(attention, "_heads", normed):
        assert error(dense) > LOGITS_BOUND


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("vision_tower.encoder.layers.1.input_layernorm", "vision_tower.encoder.layers.1.input_layernorm"),
        (f"{LAYER}.1.self_attention.k_norm", f"{LAYER}.1.self_attention.k_norm"),
        (f"{LAYER}.2.mlp.dense_norm", f"{LAYER}.2.mlp.dense_norm"),
    ],
)
def test_the_first_wrong_part_is_named(dense, experts, path, named):
    with ones(experts.ours.get_submodule(path).weight):
        assert wrong_part(experts) == f"{named}: its input agrees, its output differs"


def test_a_wrong_rotation_is_named_by_its_neighbours():
    graph = tiny_graph(1, (CHANGES["rope base of sliding layers"],))
    named = measure_graph(graph).wrong_part
    assert named.startswith("between ")
    assert f"{LAYER}.{SLIDING}.self_attention.linear_proj" in named


def test_a_wrong_embedding_scale_is_named_before_the_first_layer():
    named = measure_graph(tiny_graph(1, (CHANGES["embedding scale"],))).wrong_part
    assert named.endswith(f"{LAYER}.0.input_layernorm: the latter's input is the first value to differ")


def test_gradients_alone_can_be_red(dense):
    """A frozen parameter has the right value and no gradient."""
    from adapters.parity.pair import measure

    weight = layer(dense, SLIDING).input_layernorm.weight
    weight.requires_grad_(False)
    try:
        report = measure(dense, "frozen")
    finally:
        weight.requires_grad_(True)
    assert report.logits.passed
    assert not report.green
    assert [wrong.name for wrong in report.wrong_gradients] == ["model.language_model.layers.0.input_layernorm.weight"]
