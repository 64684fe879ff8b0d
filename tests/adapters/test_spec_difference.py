"""What of two specs differs, in words."""

from adapters.spec_difference import differences
from composer import dump
from tests.parity.shipped_spec import tiny_graph


def test_the_same_spec_and_a_renamed_one_do_not_differ():
    graph = tiny_graph(1)
    assert differences(dump(graph), graph) == []
    assert differences(dump(graph).replace("name: gemma4_vl", "name: other"), graph) == []


def test_sizes_nodes_and_lengths_are_named():
    stored = dump(tiny_graph(1)).replace("vocab_size: 256\n      max", "vocab_size: 512\n      max")
    stored = stored.replace("    out_dim: 40\n", "").replace("  embed_vision:\n", "  projector:\n")
    found = differences(stored, tiny_graph(1))
    assert "nodes.language_model.config.vocab_size: the checkpoint has 512, the model 256" in found
    assert "nodes.vision_tower.out_dim: the checkpoint has nothing, the model 40" in found
    assert any(
        line.startswith("nodes.embed_vision: the checkpoint has nothing, the model {component") for line in found
    )
    assert any(line.startswith("nodes.projector: the checkpoint has {component") for line in found)
