"""Levels of features added between decoder layers: the same as adding them by hand, in one piece and in several."""

import pytest
import torch

from adapters.megatron import ComposedModel, build
from adapters.parity.oracle import perturb
from adapters.parity.report import GRADIENT_BOUND
from tests.level_models import HIDDEN, ROWS, SIDE, TOKEN, level_model

FULL = {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}
SELECTIVE = {"recompute_granularity": "selective", "recompute_modules": ["core_attn", "mlp"]}


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Two pictures in the first row, one in the second, none in the third."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 80, (3, 3 * ROWS), generator=generator)
    ids[0, 2 : 2 + ROWS] = ids[0, 2 + ROWS + 1 : 2 + 2 * ROWS + 1] = ids[1, 5 : 5 + ROWS] = TOKEN
    return {
        "input_ids": ids,
        "pixel_values": torch.randn(3, 3, SIDE, SIDE, generator=generator),
        "labels": ids.roll(-1, 1),
    }


def made(graph, **settings) -> ComposedModel:
    model = build(graph, **settings).train()
    perturb(model)
    return model


def gradients(model, batch) -> dict[str, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    losses, _ = model(**batch)
    losses.sum().backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def add_by_hand(model, batch, after) -> None:
    """The same sum, spelled out: a table of what each token gets, row by row, on the layers' outputs."""
    states = {}

    def keep(_module, _args, output) -> None:
        states["inside"] = output.hidden_states

    model.tower.register_forward_hook(keep)
    places = [(sample, place) for sample, row in enumerate(batch["input_ids"].tolist()) for place in range(len(row))]
    places = [(sample, place) for sample, place in places if batch["input_ids"][sample, place] == TOKEN]

    def add(level):
        def hook(_module, _args, output):
            rows, (hidden, context) = states["inside"][level].flatten(0, 1), output
            table = [[torch.zeros(HIDDEN)] * hidden.shape[1] for _ in range(hidden.shape[0])]
            for row, (sample, place) in zip(rows, places, strict=True):
                table[place][sample] = row
            return hidden + torch.stack([torch.stack(line) for line in table]), context

        return hook

    for layer, level in after.items():
        model.decoder.decoder.layers[layer].register_forward_hook(add(level))
    for layer in model.decoder.decoder.layers:
        layer.place = None


@pytest.mark.parametrize(("after", "spelled_out"), [(None, {0: 1, 1: 2, 2: 0}), ([0, 1, 3], {0: 1, 1: 2, 3: 0})])
@pytest.mark.parametrize("settings", [{}, FULL, SELECTIVE], ids=["kept", "recomputed", "parts recomputed"])
def test_levels_are_added_at_placeholders_after_their_layers(batch, after, spelled_out, settings):
    graph = level_model(after=after)
    expected_model = made(graph)
    add_by_hand(expected_model, batch, spelled_out)
    expected, found = gradients(expected_model, batch), gradients(made(graph, **settings), batch)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        # A key's bias has no gradient but rounding: it is measured by its weight's.
        size = expected.get(name.replace(".bias", ".weight"), gradient).norm()
        assert (found[name] - gradient).norm() <= GRADIENT_BOUND * size, name
