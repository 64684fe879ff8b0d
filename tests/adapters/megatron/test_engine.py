"""The engine in one process: groups of the optimizer, multipliers, clipping, precision, freezing stage by stage."""

from collections.abc import Callable

import attrs
import pytest
import torch
from torch import Tensor

from adapters.megatron.engine import MegatronEngine
from adapters.megatron.start import build_stages
from adapters.training.collator import Batch
from adapters.training.problems import NonFiniteError
from adapters.training.settings import OptimizerSettings, Stage, Training

EVERYTHING = ("vision_tower", "embed_vision", "language_model")
ALL = Stage("all", 10, EVERYTHING)


@pytest.fixture
def rows(batch) -> Batch:
    """The parity batch as the loop's collator would give it."""
    return Batch(
        input_ids=batch.input_ids,
        labels=batch.labels,
        loss_mask=batch.loss_mask.float() if hasattr(batch, "loss_mask") else (batch.labels >= 0).float(),
        attention_mask=batch.attention_mask,
        images_per_sample=batch.images_per_sample,
        **batch.features,
    )


@pytest.fixture
def make(graph) -> Callable[..., MegatronEngine]:
    def made(**changes) -> MegatronEngine:
        settings = attrs.evolve(Training(stages=(ALL,), micro_batch=3, global_batch=3, seed=1), **changes)
        return MegatronEngine(build_stages(graph, settings), settings)

    return made


def parameters(engine: MegatronEngine) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in engine.model.named_parameters()}


def test_two_steps_are_those_of_torch(make, rows):
    """AdamW with decay for matrices only, after clipping; gradients by plain autograd.

    eps is large: a parameter whose gradient is nothing but rounding moves as far as any other with a small one.
    """
    own = OptimizerSettings(lr=1e-3, weight_decay=0.1, beta1=0.8, beta2=0.9, eps=1e-2, clip=0.5)
    engine, other = make(optimizer=own), make(optimizer=own)
    engine.begin_stage(ALL)
    model = other.model
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": own.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, own.lr, (own.beta1, own.beta2), own.eps)
    for _ in range(2):
        optimizer.zero_grad()
        losses, mask = model(**rows.inputs(), labels=rows.labels, loss_mask=rows.loss_mask)
        loss = (losses * mask).sum() / mask.sum()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), own.clip)
        optimizer.step()
        result = engine.step([rows], own.lr)
        assert result.loss == pytest.approx(float(loss.detach()), rel=1e-5)
        assert result.grad_norm == pytest.approx(float(norm), rel=1e-5)
    expected = parameters(other)
    for name, parameter in engine.model.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], rtol=1e-5, atol=1e-6, msg=name)


def test_micro_batches_do_not_change_the_step(make, rows):
    results = []
    for cut in (1, 3):
        engine = make()
        engine.begin_stage(ALL)
        results.append(engine.step([rows] if cut == 1 else single_rows(rows), 1e-4))
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-6)
    assert results[0].grad_norm == pytest.approx(results[1].grad_norm, rel=1e-5)


def single_rows(rows: Batch) -> list[Batch]:
    assert rows.pixel_values is not None
    assert rows.image_position_ids is not None
    found, ends = [], rows.images_per_sample.cumsum(0).tolist()
    for row, end in enumerate(ends):
        own = slice(end - int(rows.images_per_sample[row]), end)
        here = slice(row, row + 1)
        found.append(
            Batch(
                input_ids=rows.input_ids[here],
                labels=rows.labels[here],
                loss_mask=rows.loss_mask[here],
                attention_mask=rows.attention_mask[here],
                pixel_values=rows.pixel_values[own],
                image_position_ids=rows.image_position_ids[own],
                images_per_sample=rows.images_per_sample[here],
            )
        )
    return found


def test_a_multiplier_of_zero_leaves_a_node_as_it_is_and_others_scale(make, rows):
    engine = make(optimizer=OptimizerSettings(lr_multipliers={"vision_tower": 0.0, "embed_vision": 0.5}))
    plain = make()
    moved = []
    for each in (engine, plain):
        before = parameters(each)
        each.begin_stage(ALL)
        each.step([rows], 1e-3)
        moved.append({name: p.detach() - before[name] for name, p in each.model.named_parameters()})
    scaled, whole = moved
    for name, difference in scaled.items():
        factor = {"vision_tower": 0.0, "embed_vision": 0.5}.get(name.split(".")[0], 1.0)
        torch.testing.assert_close(difference, factor * whole[name], rtol=1e-3, atol=1e-7, msg=name)
        if factor == 0.0:
            assert not difference.any(), name


def test_frozen_parameters_have_no_buffer_and_no_state_in_any_stage(make, rows):
    engine = make()
    for trains in (("embed_vision",), ("vision_tower", "language_model"), EVERYTHING):
        engine.begin_stage(Stage("s", 1, trains))
        before = parameters(engine)
        engine.step([rows], 1e-3)
        named = dict(engine.model.named_parameters())
        trained = {name for name in named if name.split(".")[0] in trains}
        assert {name for name, p in named.items() if hasattr(p, "main_grad")} == trained
        assert {name for name, p in named.items() if not torch.equal(p, before[name])} == trained
        held = {id(p) for group in engine.optimizer.param_groups for p in group["params"]}
        assert held == {id(named[name]) for name in trained}


@pytest.mark.parametrize(
    "changes",
    [{}, {"overlap": True}, {"overlap": True, "distributed_optimizer": True}],
    ids=["plain", "overlap", "both"],
)
def test_a_new_stage_starts_with_a_fresh_optimizer_and_without_the_hooks_of_the_last(make, rows, changes):
    """The same stage twice, and one engine that begins with its weights: gradients are counted once."""
    engine = make(**changes)
    engine.begin_stage(ALL)
    engine.step([rows], 1e-3)
    engine.begin_stage(ALL)
    fresh = make(**changes)
    fresh.model.load_state_dict(engine.model.state_dict())
    fresh.begin_stage(ALL)
    assert engine.step([rows], 1e-3) == fresh.step([rows], 1e-3)
    engine.gather()
    fresh.gather()
    for name, parameter in engine.model.named_parameters():
        assert torch.equal(parameter, fresh.model.get_parameter(name)), name


def test_bf16_parameters_move_by_sums_of_steps_that_are_each_too_small_for_them(make, rows):
    """Without parameters in fp32, a step of 1e-6 on a weight of 1 would be lost, and so would a hundred of them."""
    engine = make(precision="bf16", optimizer=OptimizerSettings(weight_decay=0.0))
    norm = "language_model.decoder.final_layernorm.weight"
    assert {p.dtype for p in engine.model.parameters()} == {torch.bfloat16}
    engine.begin_stage(ALL)
    before = engine.model.get_parameter(norm).detach().clone()
    for count in range(1, 11):
        engine.step([rows], 1e-3)
        changed = (engine.model.get_parameter(norm) != before).float().mean()
        if count == 1:
            assert changed == 0  # 1e-3 is below half of the distance between bf16 numbers near 1 (2⁻⁷)
    assert changed > 0.5


def test_no_number_in_one_micro_batch_stops_before_parameters_change(make, rows):
    engine = make()
    engine.begin_stage(ALL)
    good, bad = single_rows(rows)[:2]
    assert bad.pixel_values is not None
    before = parameters(engine)
    with pytest.raises(NonFiniteError, match="loss nan"):
        engine.step([good, attrs.evolve(bad, pixel_values=bad.pixel_values * torch.inf)], 1e-3)
    assert all(torch.equal(p, before[name]) for name, p in engine.model.named_parameters())
    fresh = make()
    fresh.begin_stage(ALL)
    assert engine.step([good], 1e-3) == fresh.step([good], 1e-3)  # and nothing of the bad step is left


def test_a_step_without_images_leaves_a_tower_that_trains_alone_as_it_is(make, rows):
    engine = make(optimizer=OptimizerSettings(weight_decay=0.0))
    engine.begin_stage(Stage("tower", 1, ("vision_tower",)))
    before = parameters(engine)
    ids = torch.full_like(rows.input_ids, 5)
    text = attrs.evolve(
        rows,
        input_ids=ids,
        pixel_values=None,
        image_position_ids=None,
        images_per_sample=torch.zeros_like(rows.images_per_sample),
    )
    assert engine.step([text, text], 1e-3).grad_norm == 0.0
    assert all(torch.equal(p, before[name]) for name, p in engine.model.named_parameters())
