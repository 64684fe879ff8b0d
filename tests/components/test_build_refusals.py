"""Whole language models of transformers do not get in as parts."""

import pytest
from attrs import evolve

from adapters.megatron import build
from components.build_error import BuildError
from tests.parity.shipped_spec import tiny_graph


def with_config(graph, node, **changes):
    nodes = dict(graph.nodes)
    nodes[node] = evolve(nodes[node], config=evolve(nodes[node].config, **changes))
    return evolve(graph, nodes=nodes)


def test_a_language_model_is_no_tower():
    graph = tiny_graph(0)
    with pytest.raises(BuildError, match="is a language model's configuration"):
        build(with_config(graph, "vision_tower", config=graph.hf_config["text_config"]))


def test_a_whole_model_is_no_projector():
    with pytest.raises(BuildError, match="Gemma4TextModel is a whole model of transformers"):
        build(with_config(tiny_graph(0), "embed_vision", class_name="Gemma4TextModel"))


def test_a_class_that_is_not_there():
    with pytest.raises(BuildError, match="has no class Nothing"):
        build(with_config(tiny_graph(0), "embed_vision", class_name="Nothing"))


def test_a_package_that_is_too_old():
    graph = tiny_graph(0)
    newer = evolve(graph, hf=evolve(graph.hf, requires="transformers>=99"))
    with pytest.raises(BuildError, match="gemma4_vl needs transformers>=99, installed is 5"):
        build(newer)
