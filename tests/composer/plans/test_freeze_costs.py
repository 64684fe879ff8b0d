"""Costs of nodes, counted by hand for a small spec's graph."""

import pytest

from composer import Graph, load
from composer.plans.freeze_costs import NodeCosts, node_costs
from composer.plans.inventory import EncoderCosts, Inventory, Parameter, Polynomial
from tests.composer.specs import GEMMA4

NOTHING = Polynomial()


@pytest.fixture(scope="module")
def graph() -> Graph:
    return load(GEMMA4)


def inventory(*, tied: bool = False, traced: float | None = None) -> Inventory:
    tower, projector, decoder = "vision_tower", "embed_vision", "language_model"
    parameters = (
        Parameter(f"{tower}.fc", tower, "tower", (3, 5)),
        Parameter(f"{tower}.norm", tower, "norms", (5,)),
        Parameter(f"{projector}.fc", projector, "projector", (7, 5)),
        Parameter(f"{decoder}.table", decoder, "embeddings", (11, 7)),
        Parameter(f"{decoder}.layers.0.norm", decoder, "norms", (7,), layer=0),
        Parameter(f"{decoder}.layers.0.fc", decoder, "dense", (13, 7), layer=0),
        Parameter(f"{decoder}.layers.1.expert.0", decoder, "experts", (2, 7), layer=1, expert=0),
        Parameter(f"{decoder}.layers.1.expert.1", decoder, "experts", (2, 7), layer=1, expert=1),
        Parameter(f"{decoder}.norm", decoder, "norms", (7,)),
        *(() if tied else (Parameter(f"{decoder}.head", decoder, "head", (11, 7)),)),
    )
    run = EncoderCosts(tower, Polynomial(0, traced or 0, 0), *[NOTHING] * 6, launches=1, traced=traced is not None)
    return Inventory("0" * 16, "small", parameters, (run,), tied)


def costs(graph: Graph, trained: set[str], made: Inventory, **settings: object) -> dict[str, NodeCosts]:
    return {each.node: each for each in node_costs(frozenset(trained), made, graph, **settings)}  # type: ignore[arg-type]


def test_a_frozen_tower_runs_without_autograd_and_costs_no_backward_pass(graph: Graph) -> None:
    found = costs(graph, {"embed_vision.fc"}, inventory())
    assert (found["vision_tower"].autograd, found["vision_tower"].backward_flops) == (False, 0)
    assert (found["embed_vision"].forward_flops, found["embed_vision"].backward_flops) == (70, 70)
    decoder = found["language_model"]
    assert (decoder.autograd, decoder.trained, decoder.frozen_layers) == (True, 0, 0)
    assert decoder.backward_flops == decoder.forward_flops


def test_the_embedding_is_looked_up_and_the_head_is_a_product_tied_or_not(graph: Graph) -> None:
    layers = 2 * 13 * 7 + 2 * 2 * 14
    for tied in (False, True):
        assert costs(graph, set(), inventory(tied=tied))["language_model"].forward_flops == layers + 2 * 77


def test_a_token_passes_its_share_of_the_experts(graph: Graph) -> None:
    found = costs(graph, set(), inventory(), active_experts=0.5)
    assert found["language_model"].forward_flops == 2 * 13 * 7 + 2 * 14 + 2 * 77


@pytest.mark.parametrize(
    ("trained", "frozen_layers", "backward"),
    [
        ({"layers.1.expert.0"}, 1, 28 + 28 + 154),  # its own weight; the other expert's input, and the head's
        ({"layers.0.norm"}, 0, 182 + 56 + 154),  # inputs of everything behind the norm
        ({"layers.0.fc"}, 0, 182 + 56 + 154),
        ({"norm"}, 2, 154),
        ({"head"}, 2, 154),
        ({"table"}, 0, 182 + 56 + 154),
        ({"table", "head"}, 0, 182 + 56 + 2 * 154),
        (set(), 2, 0),
    ],
)
def test_backward_cost_and_frozen_layers(graph: Graph, trained: set[str], frozen_layers: int, backward: float) -> None:
    found = costs(graph, {f"language_model.{name}" for name in trained}, inventory())["language_model"]
    assert (found.frozen_layers, found.backward_flops) == (frozen_layers, backward)
    assert found.autograd == bool(trained)


def test_a_tied_table_that_trains_is_paid_at_the_exit_too(graph: Graph) -> None:
    found = costs(graph, {"language_model.table"}, inventory(tied=True))["language_model"]
    assert found.backward_flops == 182 + 56 + 2 * 154


def test_bytes_are_fp32_gradients_and_what_adam_keeps(graph: Graph) -> None:
    for precision, per_element in (("bf16", 12), ("fp32", 8)):
        found = costs(graph, {"vision_tower.fc", "vision_tower.norm"}, inventory(), precision=precision)
        tower = found["vision_tower"]
        assert (tower.parameters, tower.trained) == (20, 20)
        assert (tower.gradient_bytes, tower.optimizer_bytes) == (20 * 4, 20 * per_element)


def test_a_tower_that_was_run_costs_what_running_it_showed(graph: Graph) -> None:
    found = costs(graph, {"vision_tower.fc"}, inventory(traced=270.0))["vision_tower"]
    assert (found.forward_flops, found.backward_flops) == (270, 270)
