"""The Megatron engine on one card: bf16 with the distributed optimizer, checkpoints, and a number that is none."""

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from adapters import checkpoint_folder
from adapters.megatron.engine import MegatronEngine
from adapters.megatron.start import build_stages
from adapters.parity.batch import make_batch
from adapters.parity.oracle import build_oracle
from adapters.training.collator import Batch
from adapters.training.problems import NonFiniteError
from adapters.training.settings import Checkpoints, Layout, Stage, Training
from components.fusion.mask_metadata import MetadataLayout
from components.language import core_attention
from components.language.core_attention import DenseMasks, MaskedAttention
from composer import Graph, masks
from tests.parity.shipped_spec import tiny_graph

STAGE = Stage("all", 10, ("vision_tower", "embed_vision", "language_model"))
LR = 1e-3


@pytest.fixture(params=[0, 1], ids=["experts", "dense"])
def graph(request: pytest.FixtureRequest) -> Graph:
    return tiny_graph(request.param)


@pytest.fixture
def rows(graph: Graph) -> Batch:
    batch = make_batch(graph, build_oracle(graph))
    return Batch(
        input_ids=batch.input_ids,
        labels=batch.labels,
        loss_mask=batch.loss_mask.float(),
        attention_mask=batch.attention_mask,
        images_per_sample=batch.images_per_sample,
        **batch.features,
    )


def engine(graph: Graph, transformer_impl: str, **changes: Any) -> MegatronEngine:
    one = Training(
        stages=(STAGE,),
        micro_batch=3,
        global_batch=3,
        precision="bf16",
        distributed_optimizer=True,
        transformer_impl=transformer_impl,  # pyright: ignore[reportArgumentType]
    )
    settings = attrs.evolve(one, **changes)
    made = MegatronEngine(build_stages(graph, settings), settings)
    made.begin_stage(STAGE)
    return made


def losses(trained: MegatronEngine, rows: Batch, steps: int) -> list[float]:
    return [trained.step([rows], LR).loss for _ in range(steps)]


@pytest.mark.parametrize("changes", [{}, {"overlap": True}, {"layout": Layout(recompute="full")}], ids=str)
def test_the_loss_falls(graph: Graph, rows: Batch, transformer_impl: str, changes: dict[str, Any]) -> None:
    found = losses(engine(graph, transformer_impl, **changes), rows, 12)
    assert found[-1] < 0.8 * found[0]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_run_goes_on_from_its_checkpoint(
    graph: Graph, rows: Batch, transformer_impl: str, asynchronous: bool, tmp_path: Path
) -> None:
    """Sums on a card have no fixed order: near, not equal."""
    saving = {"checkpoints": Checkpoints(every=3, asynchronous=asynchronous)}
    first = engine(graph, transformer_impl, **saving)
    losses(first, rows, 3)
    first.save(tmp_path / checkpoint_folder.name_of(3), {"step": 3})
    first.finish_save()
    expected = losses(first, rows, 3)
    again = engine(graph, transformer_impl, **saving)
    assert again.load(tmp_path / checkpoint_folder.name_of(3)) == {"step": 3}
    assert losses(again, rows, 3) == pytest.approx(expected, rel=1e-2)


def test_no_number_is_found_where_it_began(rows: Batch, graph: Graph, transformer_impl: str) -> None:
    trained = engine(graph, transformer_impl)
    with torch.no_grad():
        next(trained.model.embed_vision.parameters())[0] = float("nan")
    with pytest.raises(NonFiniteError, match="embed_vision"):
        trained.step([rows], LR)


@pytest.mark.parametrize("rule", ["causal", "(causal | same_run(image)) & window(200)"])
def test_attention_block_by_block(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = masks.parse(rule)
    layout = MetadataLayout.for_rules([parsed], {"image": 9})
    module = MaskedAttention(parsed, DenseMasks(layout), 0.1, 0.0)
    generator = torch.Generator().manual_seed(0)
    ids = torch.full((1, 1024), 1)
    ids[0, 100:356] = 9
    metadata = layout.build(ids.cuda())
    shapes = ((1024, 1, 8, 64), (1024, 1, 2, 64), (1024, 1, 2, 64))
    given = [torch.randn(shape, generator=generator).cuda().requires_grad_() for shape in shapes]
    table = module(*given, metadata)
    expected = torch.autograd.grad(table.square().sum(), given)
    monkeypatch.setattr(core_attention, "TABLE_PAIRS", 1)
    monkeypatch.setattr(core_attention, "BLOCK_QUERIES", 128)
    blocks = module(*given, metadata)
    torch.testing.assert_close(blocks, table, rtol=1e-4, atol=1e-5)
    found = torch.autograd.grad(blocks.square().sum(), given)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
