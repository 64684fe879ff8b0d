"""The graph as networkx sees it."""

import networkx
import pytest

from composer import load
from composer.network import network, upstream
from tests.parity.shipped_spec import SPEC


@pytest.fixture(scope="module")
def graph():
    return load(SPEC)


def test_roles_and_kinds(graph):
    made = network(graph)
    assert made.nodes["vision_tower"]["role"] == "tower"
    assert made.nodes["pixel_values"]["role"] == "input"
    kinds = [data["kind"] for *_, data in made.edges("input_ids", data=True)]
    assert sorted(kinds) == ["embed", "mask", "position"]
    assert networkx.is_directed_acyclic_graph(made)


def test_upstream_is_everything_read(graph):
    assert upstream(graph, "embed_vision") == {"vision_tower", "pixel_values", "image_position_ids"}
    assert upstream(graph, "pixel_values") == set()
    with pytest.raises(networkx.NetworkXError):
        upstream(graph, "vision_towr")
