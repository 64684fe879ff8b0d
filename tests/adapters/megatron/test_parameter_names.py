"""The ranks of a layout together hold the parameters of one rank: under the same names, with the same values."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from adapters.megatron.parameter_names import canonical_names
from tests.adapters.megatron.parameter_names_worker import LAYOUTS, WORLD

ROOT = Path(__file__).parents[3]
TABLE = "language_model.embedding.word_embeddings.weight"


def test_one_rank_has_the_names_of_the_whole_model(model):
    assert canonical_names(model) == dict(model.named_parameters())


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    worker = [sys.executable, "-W", "ignore", "-m", "tests.adapters.megatron.parameter_names_worker"]
    done = subprocess.run(
        [*worker, str(tmp_path_factory.mktemp("weights"))],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_name_is_somewhere_and_stands_at_its_values(name, found):
    layout, ranks = LAYOUTS[name], found["layouts"][name]
    assert ranks["wrong"] == []
    assert ranks["counts"].keys() == set(found["whole"])
    for parameter, times in ranks["counts"].items():
        holders = WORLD // layout.pp // (layout.ep if ".local_experts." in parameter else 1)
        # The last stage has a copy of the tied table.
        assert times == holders * (2 if parameter == TABLE and layout.pp > 1 else 1), parameter


class Together(nn.Module):
    """Parameters as Megatron-Core's TEGroupedMLP has them."""

    def __init__(self, each: nn.ModuleList) -> None:
        super().__init__()
        for part in ("linear_fc1", "linear_fc2"):
            module = nn.Module()
            for index, expert in enumerate(each):
                module.register_parameter(f"weight{index}", getattr(expert, part).weight)
            self.add_module(part, module)


def test_grouped_experts_are_named_one_by_one(fresh):
    expected = canonical_names(fresh)
    for layer in fresh.decoder_node.decoder.layers:
        layer.mlp.experts.experts = Together(layer.mlp.experts.experts.local_experts)
    renamed = canonical_names(fresh)
    assert any(name.endswith("experts.experts.linear_fc2.weight7") for name, _ in fresh.named_parameters())
    assert renamed.keys() == expected.keys()
    assert all(parameter is expected[name] for name, parameter in renamed.items())
