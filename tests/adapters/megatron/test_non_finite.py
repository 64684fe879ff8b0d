"""Numbers that are planted not to be finite are found where they were planted: one process, and two ranks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adapters.megatron import build
from adapters.megatron.non_finite import locate
from adapters.megatron.schedule import data_parallel
from tests.adapters.megatron.non_finite_cases import CASES, batches
from tests.torchrun import torchrun

TOWER = "vision_tower.encoder.layers.1.mlp.up_proj.linear"
PROJECTION = "language_model.decoder.layers.3.self_attention.linear_proj"


@pytest.fixture(scope="module")
def material() -> tuple[nn.Module, list[dict[str, Any]]]:
    graph, found = batches()
    return data_parallel(build(graph).train()), found


@contextmanager
def planted(stage: nn.Module, parameter: str, value: float) -> Iterator[None]:
    weight = stage.module.get_parameter(parameter)
    before = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(value)
        yield
        weight.copy_(before)


def test_nothing_is_found_where_nothing_is_wrong_and_no_hook_stays(material: Any) -> None:
    stage, micro_batches = material
    before = hooks(stage)
    assert locate([stage], micro_batches) is None
    assert hooks(stage) == before


def hooks(stage: torch.nn.Module) -> list[list[Any]]:
    """Of every module, before and after its forward, and in its backward pass."""
    kinds = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
    return [list(getattr(module, kind).values()) for module in stage.modules() for kind in kinds]


@pytest.mark.parametrize(
    ("module", "value", "kind"),
    [
        (TOWER, torch.nan, "parameter weight"),
        ("embed_vision.embedding_projection", torch.inf, "parameter weight"),
        (PROJECTION, torch.nan, "parameter weight"),
        (PROJECTION, 3e38, "output"),  # finite itself: what it makes is beyond fp32
    ],
)
def test_a_parameter_is_named_with_its_module(material: Any, module: str, value: float, kind: str) -> None:
    stage, micro_batches = material
    with planted(stage, f"{module}.weight", value):
        finding = locate([stage], micro_batches)
    assert finding is not None
    assert (finding.rank, finding.micro_batch, finding.direction) == (0, 0, "forward")
    assert (finding.node, finding.module, finding.kind) == (module.partition(".")[0], module, kind)


def test_a_pixel_is_named_with_its_micro_batch(material: Any) -> None:
    stage, micro_batches = material
    pixels = micro_batches[2]["pixel_values"].clone()
    pixels.flatten()[7] = torch.nan
    spoiled = [*micro_batches[:2], {**micro_batches[2], "pixel_values": pixels}]
    assert str(locate([stage], spoiled)) == (
        "micro-batch 3, rank 0, node vision_tower: input pixel_values of vision_tower"
    )


class Explode(torch.autograd.Function):
    """Nothing forward; backward, infinity."""

    @staticmethod
    def forward(_context: Any, tensor: Tensor) -> Tensor:
        return tensor.clone()

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        return gradient / 0


@pytest.mark.parametrize("recompute", ["none", "full", "selective"])
def test_a_gradient_is_laid_to_where_it_is_computed(recompute: str) -> None:
    graph, micro_batches = batches()
    full = {"recompute_method": "uniform", "recompute_num_layers": 1} if recompute == "full" else {}
    model = build(graph, recompute_granularity=None if recompute == "none" else recompute, **full).train()
    # Between what all layers of a kind share and what it feeds.
    layer = model.language_model.decoder.layers[2]
    layer.self_attention.linear_proj.register_forward_pre_hook(lambda _, given: (Explode.apply(given[0]), *given[1:]))
    finding = locate([data_parallel(model)], micro_batches)
    assert finding is not None
    assert (finding.direction, finding.micro_batch) == ("backward", 0)
    assert finding.module == "language_model.decoder.layers.2.self_attention.core_attention"


def test_a_broken_embedding_row_is_found_in_bf16() -> None:
    graph, micro_batches = batches()
    model = build(graph, dtype=torch.bfloat16).train()
    stage = data_parallel(model)
    assert locate([stage], micro_batches) is None
    with planted(stage, f"{PROJECTION}.weight", 3e38):
        finding = locate([stage], micro_batches)
    assert finding is not None
    assert (finding.module, finding.kind) == (PROJECTION, "output")


def test_two_ranks_agree_on_where(tmp_path: Path) -> None:
    torchrun(2, "-m", "tests.adapters.megatron.non_finite_cases", tmp_path)
    for case in CASES:
        found = [(tmp_path / f"{case.name}.{rank}.txt").read_text() for rank in range(2)]
        assert found == [case.expected] * 2, case.name
