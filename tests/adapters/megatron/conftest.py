"""One composed tiny model with experts, its batch, and a fresh one for tests that change it."""

import pytest
import torch

from adapters.megatron import ComposedModel, build
from adapters.parity.batch import Batch, make_batch
from adapters.parity.oracle import build_oracle, perturb
from tests.parity.shipped_spec import tiny_graph


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def graph():
    return tiny_graph(0)


@pytest.fixture(scope="session")
def batch(graph) -> Batch:
    return make_batch(graph, build_oracle(graph))


@pytest.fixture(scope="session")
def model(graph) -> ComposedModel:
    return made(graph)


@pytest.fixture
def fresh(graph) -> ComposedModel:
    return made(graph)


@pytest.fixture(scope="session")
def logits(model, batch):
    """Of the untouched model on the whole batch: [B, S, V]."""
    with torch.no_grad():
        return model(batch.input_ids, batch.attention_mask, **batch.features)


def made(graph, **settings) -> ComposedModel:
    model = build(graph, **settings).eval()
    perturb(model)
    return model
