"""Layouts a decoder cannot run in: what plans say, and what the engine does when a model is built so."""

from typing import Any

import pytest

from components.language.costs.misfits import misfits
from composer.plans.layout import Layout
from tests.adapters.plans.activation_cases import graph_of

SP: dict[str, Any] = {"tp": 2, "sequence_parallel": True}
REFUSED = (
    ("dense", Layout(tp=4), "2 key/value heads of full_attention layers cannot be split over 4"),
    ("dense", Layout(tp=3), "a vocabulary of 640 cannot be split over 3"),
    ("dense", Layout(tp=3), "the feed-forward width 160 of"),
    ("dense", Layout(ep=2), "there are no experts for ep 2"),
    ("experts", Layout(ep=3), "8 experts cannot be dealt out to 3"),
    ("experts", Layout(etp=5), "the expert width 48 cannot be split over 5"),
    ("experts", Layout(tp=2), "experts with tp 2 need sequence parallelism"),
    ("experts", Layout(recompute="selective", recompute_modules=("norms",)), "use core_attn, mlp, moe"),
)
RUN = (
    ("dense", Layout(tp=2)),
    ("dense", Layout(pp=4, cp=4)),
    ("experts", Layout(ep=8, etp=2, **SP)),
    ("experts", Layout(recompute="selective", recompute_modules=("moe", "core_attn"))),
    ("experts", Layout(recompute="full")),
)


@pytest.mark.parametrize(("model", "layout", "reason"), REFUSED)
def test_reasons(model: str, layout: Layout, reason: str):
    found = misfits(graph_of(model).decoder().config, layout)
    assert any(reason in each for each in found), found


@pytest.mark.parametrize(("model", "layout"), RUN)
def test_no_reason(model: str, layout: Layout):
    assert misfits(graph_of(model).decoder().config, layout) == ()


def test_every_reason_is_given_at_once():
    found = misfits(graph_of("experts").decoder().config, Layout(tp=4, ep=3, etp=5))
    assert len(found) == 4
