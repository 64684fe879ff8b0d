"""Pipeline flags, recomputation, gradients: the model cut and run by hand equals the model in one piece."""

import copy

import pytest
import torch
from torch.testing import assert_close

from adapters.megatron import ComposedModel, build, composed_config
from adapters.parity.oracle import perturb


def _loss(model, batch):
    losses, mask = model(batch.input_ids, batch.attention_mask, **batch.features, labels=batch.labels)
    return (losses * mask).sum()


def _gradients(model, batch):
    model.zero_grad(set_to_none=True)
    _loss(model, batch).backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_last_stage_takes_hidden_states_by_set_input_tensor(graph, model, batch, logits):
    """The whole decoder as a last stage: hidden states come from `set_input_tensor`, not from tokens."""
    last = ComposedModel(composed_config(graph), pre_process=False, post_process=True).eval()
    assert [name for name, _ in last.named_children()] == ["language_model"]
    weights = {name: value for name, value in model.state_dict().items() if name in last.state_dict()}
    weights["language_model.output_layer.weight"] = model.shared_embedding_or_output_weight()
    last.load_state_dict(weights, strict=False)
    seen = {}

    def see(_module, _args, kwargs):
        seen["hidden"] = kwargs["hidden_states"]

    hook = model.language_model.decoder.register_forward_pre_hook(see, with_kwargs=True)
    with hook, torch.no_grad():
        model(batch.input_ids, batch.attention_mask, **batch.features)
        last.set_input_tensor(seen["hidden"])
        output = last(batch.input_ids, batch.attention_mask)
    assert_close(output, logits, rtol=0, atol=0)


def test_first_stage_returns_hidden_states(graph, batch):
    first = ComposedModel(composed_config(graph), pre_process=True, post_process=False).eval()
    hidden, mask = first(batch.input_ids, batch.attention_mask, **batch.features, labels=batch.labels)
    assert hidden.shape == (batch.input_ids.shape[1], batch.input_ids.shape[0], first.config.hidden_size)
    assert mask is not None


@pytest.mark.parametrize(
    "settings",
    [
        {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1},
        {"recompute_granularity": "selective", "recompute_modules": ["core_attn", "moe"]},
    ],
    ids=["full", "selective"],
)
def test_recomputation_gives_the_same_gradients(graph, batch, settings):
    plain, recomputing = build(graph).train(), build(graph, **settings).train()
    for model in (plain, recomputing):
        perturb(model)
    expected, found = _gradients(plain, batch), _gradients(recomputing, batch)
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 1e-5 * gradient.norm(), name


def test_a_frozen_tower_keeps_no_graph(fresh, batch):
    fresh.freeze(freeze_vision_model=True)
    counts = [0]

    def pack(tensor):
        counts[0] += 1
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        fresh.vision_tower(*(batch.features[name] for name in ("pixel_values", "image_position_ids")))
    assert counts == [0]


def test_the_configuration_survives_a_deep_copy(model, graph):
    assert copy.deepcopy(model.config).graph is graph


def test_what_the_spec_decides_cannot_be_overridden(graph):
    with pytest.raises(ValueError, match="the spec decides hidden_size"):
        build(graph, hidden_size=3)
