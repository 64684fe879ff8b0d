"""A model built by builder calls only agrees with transformers, as the spec's does."""

import pytest

from adapters.parity import measure_graph
from composer import dump
from tests.gemma4_builder import build_gemma4
from tests.parity.shipped_spec import tiny_graph


@pytest.mark.parametrize("variant", [0, 1], ids=["experts", "dense"])
def test_builder_is_the_spec_and_green(variant):
    loaded = tiny_graph(variant)
    built = build_gemma4(loaded.hf_config)
    assert dump(built) == dump(loaded)
    report = measure_graph(built)
    assert report.green, report.failures()
