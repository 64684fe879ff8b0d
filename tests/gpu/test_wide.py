"""Two layers, one of each kind, as wide as 26B-A4B: 128 experts, 262,144 words, the whole tower."""

from collections.abc import Callable

from benchmarks.wide_model import wide_batch, wide_graph
from tests.gpu.bfloat16 import RATIO, assert_finite_step, distances, summed, trio


def test_two_wide_layers(transformer_impl: str, record_property: Callable[[str, object], None]) -> None:
    graph = wide_graph(["sliding_attention", "full_attention"])
    batch = wide_batch(graph, length=1536, gap=200, right_padding=64)
    with trio(graph, transformer_impl) as models:
        found = summed([distances(models, batch)])
        models.oracle.to("meta")
        models.theirs.to("meta")
        assert_finite_step(models.ours, batch)
    record_property("bfloat16", f"ours {found.ours:.2e} · transformers {found.theirs:.2e} · ratio {found.ratio:.2f}")
    assert found.ours <= RATIO * found.theirs
