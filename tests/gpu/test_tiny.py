"""The tiny expert and dense models of the shipped spec on one card."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from adapters.parity.batch import make_batch
from adapters.parity.oracle import build_oracle
from adapters.parity.pair import make_pair
from adapters.parity.variants import variants
from adapters.prove.proof import prove_pair
from composer import Graph, load
from tests.gpu.bfloat16 import RATIO, assert_finite_step, distances, summed, trio

SPEC = Path(__file__).resolve().parents[2] / "specs" / "gemma4_vl.yaml"
WANTED = ("as configured", "enable_moe_block: false")
# A token that another expert gets by a rounding is a jump in either model: one batch says little.
SEEDS = range(48)


@pytest.fixture(params=WANTED)
def graph(request: pytest.FixtureRequest) -> Graph:
    configured = load(SPEC).hf_config
    return load(SPEC, hf={variant.name: variant.hf_config for variant in variants(SPEC, configured)}[request.param])


def test_bfloat16_is_as_near_to_float32_as_transformers(
    graph: Graph, transformer_impl: str, record_property: Callable[[str, object], None]
) -> None:
    measured = []
    for seed in SEEDS:
        batch = make_batch(graph, build_oracle(graph, seed), seed).to(torch.device("cuda"))
        with trio(graph, transformer_impl, seed) as models:
            measured.append(distances(models, batch))
            if seed == 0:
                assert_finite_step(models.ours, batch)
    found = summed(measured)
    record_property("bfloat16", f"ours {found.ours:.2e} · transformers {found.theirs:.2e} · ratio {found.ratio:.2f}")
    assert found.ours <= RATIO * found.theirs


def test_proofs(graph: Graph, transformer_impl: str) -> None:
    with make_pair(graph, transformer_impl=transformer_impl) as pair:
        assert next(pair.ours.parameters()).is_cuda
        report = prove_pair(pair)
    assert report.green, list(report.failures())
