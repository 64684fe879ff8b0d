"""Every variant of the shipped spec agrees with transformers, and the comparison is one that can fail."""

import pytest
import torch

from adapters.parity import measure_graph, run, write_card
from adapters.parity.oracle import build_oracle, perturb
from adapters.parity.pair import measure, round_trip
from adapters.parity.report import GRADIENT_BOUND, gradient_errors, relative_error
from adapters.parity.variants import variants
from composer import load
from tests.parity.shipped_spec import SPEC, tiny_graph

VARIANTS = (
    "as configured",
    "enable_moe_block: false",
    "attention_k_eq_v: false",
    "use_bidirectional_attention: null",
    "tie_word_embeddings: false",
)


def test_run_compares_every_switch_of_the_spec(tmp_path):
    report = run(SPEC)
    assert tuple(variant.name for variant in report.variants) == VARIANTS
    assert report.green, [line for variant in report.variants for line in variant.failures()]
    assert report.exit_code == 0
    assert not any(variant.skipped for variant in report.variants)
    card = write_card(report, tmp_path).read_text(encoding="utf-8")
    assert all(name in card for name in VARIANTS)


@pytest.mark.parametrize("size", ["31b"])
def test_other_sizes_of_the_family(size):
    report = run(SPEC, SPEC.parent / "configs" / f"gemma4_{size}.json")
    assert report.green, [line for variant in report.variants for line in variant.failures()]


def test_the_batch_reaches_what_it_must(experts):
    batch, window = experts.batch, experts.graph.hf_config["text_config"]["sliding_window"]
    image = batch.input_ids == experts.graph.tokens["image"]
    runs = [len(run) for row in image for run in "".join("i" if slot else " " for slot in row).split()]
    assert len(next(iter(batch.features.values()))) >= 2
    assert max(runs) > window
    assert not batch.attention_mask[1, -1]
    assert not batch.attention_mask[2, 0]
    assert image[1, 0]
    assert image[2, -1]
    assert batch.loss_mask.sum() >= 5


@pytest.mark.parametrize("variant", [0, 1])
def test_no_parameter_or_persistent_buffer_is_trivial(variant):
    oracle = build_oracle(tiny_graph(variant))
    values = oracle.state_dict()
    assert any(name.endswith("layer_scalar") for name in values)
    assert any(name.endswith("std_scale") for name in values)
    for name, value in values.items():
        assert value.unique().numel() == value.numel() or value.numel() > 1000, name
        assert not ((value == 0) | (value == 1)).any(), name


def test_perturbing_is_seeded():
    first, second, other = (build_oracle(tiny_graph(1), seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)
    norm = torch.nn.LayerNorm(4)
    perturb(norm)
    assert not torch.equal(norm.weight, torch.ones(4))


def test_every_parameter_of_the_oracle_is_compared(experts):
    report = measure(experts, "experts")
    assert {measure.name for measure in report.gradients} == {name for name, _ in experts.oracle.named_parameters()}
    assert report.parameters == sum(parameter.numel() for parameter in experts.ours.parameters())


def test_transformers_needs_token_types_for_image_runs(experts):
    """Without them the oracle is causal everywhere: this batch shows the difference, so the comparison has it."""
    from adapters.parity.oracle import oracle_inputs, oracle_logits

    inputs = oracle_inputs(experts.oracle, experts.batch)
    assert inputs.pop("mm_token_type_ids").any()
    with torch.no_grad():
        causal = experts.oracle(**inputs, use_cache=False).logits
        assert relative_error(causal, oracle_logits(experts.oracle, experts.batch)) > 1e-2


def test_export_of_perturbed_parameters_is_bit_identical_and_a_changed_one_is_named(dense):
    assert round_trip(dense) == ()
    weight = dense.ours.language_model.decoder.layers[0].mlp.output_norm.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight[0] = torch.nextafter(weight[0], torch.tensor(9.0))
    try:
        named = round_trip(dense)
    finally:
        with torch.no_grad():
            weight.copy_(kept)
    assert "model.language_model.layers.0.post_feedforward_layernorm.weight: not the same bits after export" in named


def test_a_checkpoint_that_does_not_fit_is_a_red_variant():
    report = measure_graph(tiny_graph(1, ("nodes.language_model.layers.every.attention.q_norm=none",)))
    assert not report.green
    assert "q_norm" in next(report.failures())


def test_a_red_report_writes_no_card_and_fails(tmp_path):
    report = run(SPEC, overrides=["nodes.language_model.config.logit_softcap=null"])
    assert not report.green
    assert report.exit_code == 1
    with pytest.raises(ValueError, match="no card"):
        write_card(report, tmp_path)


def test_relative_error():
    one = torch.ones(4)
    assert relative_error(one, one) == 0
    assert relative_error(torch.zeros(4), torch.zeros(4)) == 0
    assert relative_error(one * 1.5, one) == pytest.approx(0.5)
    assert relative_error(one, torch.zeros(4)) == float("inf")
    assert relative_error(one, torch.ones(5)) == float("inf")
    assert relative_error(one * float("nan"), one) == float("inf")


def test_zero_gradients_are_exactly_zero():
    expected = {"experts": torch.tensor([[1.0, 2.0], [0.0, 0.0]])}
    exact = gradient_errors({"experts": torch.tensor([[1.0, 2.0], [0.0, 0.0]])}, expected)
    leaked = gradient_errors({"experts": torch.tensor([[1.0, 2.0], [0.0, 1e-30]])}, expected)
    missing = gradient_errors({"other": torch.ones(1)}, expected)
    assert [measure.passed for measure in (*exact, *leaked, *missing)] == [True, False, False, False]
    assert exact[0].bound == GRADIENT_BOUND


def test_variants_follow_the_conditions_of_a_spec():
    config = load(SPEC).hf_config
    found = {variant.name: variant.hf_config["text_config"] for variant in variants(SPEC, config)}
    assert found["as configured"]["enable_moe_block"] is True
    assert found["enable_moe_block: false"]["enable_moe_block"] is False
    kinds = found["as configured"]["kinds"]
    assert kinds["full_attention"]["head_dim"] > kinds["sliding_attention"]["head_dim"]
    assert kinds["full_attention"]["num_key_value_heads"] < kinds["sliding_attention"]["num_key_value_heads"]
    assert config["text_config"]["hidden_size"] == 2816
