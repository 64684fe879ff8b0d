"""The proof holds for the shipped spec, and turns red for every wrong rule, in the spec or in the built model."""

from contextlib import contextmanager

import pytest
import torch

from adapters.parity.gradients import entries
from adapters.parity.pair import logits, make_pair
from adapters.prove import prove_graph, run
from adapters.prove.freezing import prove_freezing
from adapters.prove.perturbation import attending_alone, changes, turned_rows
from adapters.prove.proof import prove_pair
from adapters.prove.report import UNCHANGED_BOUND
from composer import masks
from tests.parity.shipped_spec import SPEC, tiny_graph

SLIDING_RULE, FULL_RULE = "edges[6].rules.sliding_attention", "edges[6].rules.full_attention"
WRONG_RULES = {
    "causal instead of the run": (f"{SLIDING_RULE}=causal & window(8)",),
    "run moved to full layers": (f"{SLIDING_RULE}=causal & window(8)", f"{FULL_RULE}=causal | same_run(image, video)"),
    "run on full layers too": (f"{FULL_RULE}=causal | same_run(image, video)",),
    "run overrides the window": (f"{SLIDING_RULE}=causal & window(8) | same_run(image, video)",),
    "window one too small": (f"{SLIDING_RULE}=(causal | same_run(image, video)) & window(7)",),
}


@pytest.fixture(scope="module")
def pair():
    torch.set_num_threads(1)
    with make_pair(tiny_graph(0)) as made:
        yield made


@contextmanager
def built_with(pair, kind, rule):
    """A built model whose attention of one kind follows another rule than the spec says."""
    order = pair.graph.decoder().config.layers.order
    layers = pair.ours.language_model.decoder.layers
    cores = {
        id(layer.self_attention.core_attention): layer.self_attention.core_attention
        for layer, its in zip(layers, order, strict=True)
        if its == kind
    }
    kept = {key: core.rule for key, core in cores.items()}
    for core in cores.values():
        core.rule = masks.parse(rule)
    try:
        yield
    finally:
        for key, core in cores.items():
            core.rule = kept[key]


def test_the_shipped_spec_is_proved():
    report = run(SPEC)
    assert report.green, list(report.failures())
    assert report.exit_code == 0
    sliding, full = report.kinds
    assert (sliding.kind, full.kind) == ("sliding_attention", "full_attention")
    assert sliding.rows == full.rows == 27
    assert sliding.earlier_in_run > 0
    assert full.earlier_in_run == 0
    assert sliding.text_before == full.text_before == 0
    assert sliding.text_after > 0
    assert full.text_after > 0
    for proof in report.kinds:
        assert proof.largest_unchanged <= UNCHANGED_BOUND < proof.smallest_changed


def test_the_dense_decoder_is_proved():
    report = prove_graph(tiny_graph(1))
    assert report.green, list(report.failures())


@pytest.mark.parametrize("name", WRONG_RULES)
def test_a_wrong_rule_in_the_spec_is_red(name):
    """The spec then does what it says; transformers does not agree."""
    report = prove_graph(tiny_graph(1, WRONG_RULES[name]))
    assert report.exit_code == 1
    failures = list(report.failures())
    assert failures
    assert all("transformers" in failure for failure in failures if "more" not in failure)


@pytest.mark.parametrize(
    ("kind", "rule", "finding"),
    [
        ("sliding_attention", "causal & window(8)", "did not change and must"),
        ("sliding_attention", "causal & window(8) | same_run(image, video)", "changed and must not"),
        ("full_attention", "causal | same_run(image, video)", "changed and must not"),
        ("full_attention", "bidirectional", "changed and must not"),
    ],
)
def test_a_model_that_does_not_do_what_the_spec_says_is_red(pair, kind, rule, finding):
    with built_with(pair, kind, rule):
        report = prove_pair(pair)
    wrong = {proof.kind: proof.problems for proof in report.kinds if proof.problems}
    assert list(wrong) == [kind]
    assert any(finding in problem and "by the rule" in problem for problem in wrong[kind])


def test_each_layer_alone_is_put_back(pair):
    before = {name: value.clone() for name, value in pair.ours.named_parameters()}
    with attending_alone(0, entries(pair.ours, pair.graph), pair.ours, pair.oracle):
        changed = [name for name, value in pair.ours.named_parameters() if not torch.equal(value, before[name])]
    assert changed == [f"language_model.decoder.layers.{i}.self_attention.linear_proj.weight" for i in (1, 2, 3)]
    assert all(torch.equal(value, before[name]) for name, value in pair.ours.named_parameters())


def test_only_the_row_given_is_turned(pair):
    """Nothing attends: only the token that the row went to changes."""
    with torch.no_grad(), attending_alone(-1, entries(pair.ours, pair.graph), pair.ours, None):
        run_ours = lambda: logits(pair.ours, pair.batch)  # noqa: E731
        changed = changes(run_ours, turned_rows(pair.ours, ("image",), [4]), run_ours()) > UNCHANGED_BOUND
    assert changed.nonzero().tolist() == [(pair.batch.input_ids == 251).nonzero()[4].tolist()]


def test_a_freeze_that_does_not_freeze_is_red(pair):
    freeze = pair.ours.freeze
    pair.ours.freeze = lambda **roles: freeze(**{**roles, "freeze_vision_projection": False})
    try:
        problems = [problem for proof in prove_freezing(pair) for problem in proof.problems]
    finally:
        del pair.ours.freeze
    assert any(problem.startswith("gradient reaches embed_vision.") for problem in problems)


def test_a_freeze_that_freezes_too_much_is_red(pair):
    freeze = pair.ours.freeze

    def too_much(**roles):
        freeze(**(roles | ({"freeze_vision_projection": True} if roles.get("freeze_vision_model") else {})))

    pair.ours.freeze = too_much
    try:
        problems = [problem for proof in prove_freezing(pair) for problem in proof.problems]
    finally:
        del pair.ours.freeze
    assert any(problem.startswith("no gradient reaches embed_vision.") for problem in problems)
