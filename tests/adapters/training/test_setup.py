"""Settings for a graph."""

from adapters.training.settings import Stage, Training
from adapters.training.setup import fitted
from composer.plans.layout import Layout
from tests.parity.shipped_spec import tiny_graph


def test_experts_get_sequence_parallelism_beside_tensor_parallelism():
    one = Training(stages=(Stage("all", 1, ("language_model",)),), layout=Layout(tp=2))
    experts, dense = tiny_graph(0), tiny_graph(1)
    assert fitted(one, experts).layout == Layout(tp=2, sequence_parallel=True)
    assert fitted(one, dense) == one
    alone = Training(stages=one.stages)
    assert fitted(alone, experts) == alone
