"""A tiny model of the shipped spec."""

from pathlib import Path

import pytest

from adapters.parity.variants import variants
from composer import Graph, load

SPEC = Path(__file__).resolve().parents[3] / "specs" / "gemma4_vl.yaml"


@pytest.fixture(scope="session")
def tiny_graph() -> Graph:
    return load(SPEC, hf=variants(SPEC, load(SPEC).hf_config)[0].hf_config)
