"""The tiny model of every shipped spec on one card: what it computes there is what transformers computes there."""

import sys
from collections.abc import Callable

import pytest
import torch
import transformers

from adapters.parity.gradients import gradients, oracle_gradients
from adapters.parity.oracle import oracle_logits, oracle_loss
from adapters.parity.pair import logits, loss, make_pair
from adapters.parity.report import LOGITS_BOUND, gradient_errors, relative_error
from adapters.parity.variants import AS_CONFIGURED
from composer.graph import Graph
from tests.parity.shipped_spec import SPECS, tiny_of

# Kernels of a card add in other orders than the CPU's, and each side calls its own: ten times the CPU's bounds.
FACTOR = 10
NAMES = sorted(path.stem for path in SPECS.glob("*.yaml"))


KERNELS = ("torch_chunk_gated_delta_rule", "causal_conv1d_fn")


@pytest.fixture(params=NAMES)
def graph(request: pytest.FixtureRequest) -> Graph:
    return tiny_of(request.param, AS_CONFIGURED)


@pytest.fixture
def _torch_alone(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers' delta nets take kernels that multiply in TF32 where they are installed: here, its torch form."""
    file = sys.modules[getattr(transformers, str(graph.architecture)).__module__]
    for name in KERNELS:
        if hasattr(file, name):
            monkeypatch.setattr(file, name, getattr(file, name).__wrapped__)


@pytest.mark.usefixtures("_torch_alone")
def test_logits_and_gradients(
    graph: Graph, transformer_impl: str, record_property: Callable[[str, object], None]
) -> None:
    with make_pair(graph, transformer_impl=transformer_impl) as pair:
        assert next(pair.ours.parameters()).is_cuda
        valid = pair.batch.attention_mask
        with torch.no_grad():
            error = relative_error(logits(pair.ours, pair.batch)[valid], oracle_logits(pair.oracle, pair.batch)[valid])
        for value in (loss(pair.ours, pair.batch), oracle_loss(pair.oracle, pair.batch)):
            value.backward()
        errors = gradient_errors(gradients(pair.ours, pair.graph), oracle_gradients(pair.oracle))
    worst = max(errors, key=lambda measure: measure.error / measure.bound)
    record_property("float32", f"{graph.name}: logits {error:.1e}, gradient of {worst.name} {worst.error:.1e}")
    assert error <= FACTOR * LOGITS_BOUND
    assert all(measure.error <= FACTOR * measure.bound for measure in errors), worst
