"""What is frozen costs what the plan says: tensors saved for the backward pass, backward calls, and products.

Everything here is counted on real runs of a small model: saved tensors by torch's hooks, backward calls by hooks on
modules, FLOPs by looking at each matrix product that torch runs.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from attrs import field, frozen
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from adapters.megatron import ComposedModel, build
from adapters.megatron.layout import model_overrides
from adapters.megatron.parameter_names import canonical_names
from adapters.parity.batch import Batch, make_batch
from adapters.parity.oracle import build_oracle
from adapters.plans.active_experts import active_experts
from adapters.plans.inventory import inventory
from composer import Graph
from composer.plans.freeze import ResolvedStage, resolved_stages
from composer.plans.freeze_costs import NodeCosts, node_costs
from composer.plans.layout import Layout
from composer.stages import FreezeStage
from tests.distributed.graphs import tiny

# Hooks say so of the first module that trains, whose inputs need no gradient.
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")

TOWER, PROJECTOR, DECODER = "vision_tower", "embed_vision", "language_model"
PATCHES_OF_A_ROW = 9
TRAINS = {
    "everything": "all",
    "tower frozen": "all - tower",
    "tower and projector frozen": "decoder",
    "projector before a frozen decoder": "projector",
    "tower before frozen nodes": "tower",
    "last two layers": "layers(-2..)",
    "last layer and final norm": 'layers(-1) | "*.final_layernorm.*"',
    "embeddings alone": "embeddings",
    "final norm alone": '"*.final_layernorm.*"',
}


class Products(TorchDispatchMode):
    """FLOPs of products with matrices, but not of attention's batched ones, by where they run."""

    def __init__(self, place: Callable[[], str]) -> None:
        super().__init__()
        self.flops: Counter[str] = Counter()
        self.place = place

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in {torch.ops.aten.mm.default, torch.ops.aten.addmm.default}:
            left, right = args[-2:]
            self.flops[self.place()] += 2 * left.shape[0] * left.shape[1] * right.shape[1]
        return func(*args, **(kwargs or {}))


@frozen
class Counts:
    """saved: tensors; calls: backward calls of modules; forward, backward: FLOPs. By node, and by `layer 0`, ..."""

    saved: Counter[str] = field(factory=Counter)
    calls: Counter[str] = field(factory=Counter)
    forward: Counter[str] = field(factory=Counter)
    backward: int = 0


def count(model: ComposedModel, graph: Graph, batch: Batch) -> Counts:
    """One forward and backward pass, watched."""
    layers = model.decoder_node.decoder.layers
    places: list[tuple[str, nn.Module]] = [(name, getattr(model, name)) for name in graph.nodes]
    places += [(f"layer {index}", layer) for index, layer in enumerate(layers)]
    holders = Counter(id(module) for layer in layers for module in layer.modules())
    where, found = [""], Counts()

    def entering(name: str) -> Callable[..., None]:
        return lambda *_: where.append(name)

    def called(name: str) -> Callable[..., None]:
        return lambda *_: found.calls.update([name])

    for name, module in places:
        module.register_forward_pre_hook(entering(name))
        module.register_forward_hook(lambda *_: where.pop() and None)
        for inner in module.modules():
            if not any(True for _ in inner.children()) and holders[id(inner)] < 2:  # layers share the mask's module
                inner.register_full_backward_pre_hook(called(name))

    def pack(tensor: Tensor) -> Tensor:
        found.saved[where[-1]] += 1
        return tensor

    # Layers run inside the decoder: products count for the node.
    with Products(lambda: next((name for name in where if name in graph.nodes), "")) as products:
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            labels = {"labels": batch.labels, "loss_mask": batch.loss_mask.float()}
            losses, mask = model(batch.input_ids, batch.attention_mask, **batch.features, **labels)
        forward = Counter(products.flops)
        products.flops.clear()
        (losses * mask).sum().backward()
    return Counts(found.saved, found.calls, forward, sum(products.flops.values()))


@pytest.fixture(scope="module", params=["dense", "experts"])
def graph(request) -> Graph:
    return tiny(request.param)


@pytest.fixture(scope="module")
def batch(graph) -> Batch:
    return make_batch(graph, build_oracle(graph))


def planned(graph: Graph, selector: str) -> tuple[ResolvedStage, dict[str, NodeCosts]]:
    [stage] = resolved_stages({"stage": FreezeStage((selector,))}, inventory(graph), graph, None)
    costs = node_costs(stage.trained, inventory(graph), graph, active_experts=active_experts(graph))
    return stage, {each.node: each for each in costs}


def frozen_model(graph: Graph, stage: ResolvedStage, **settings: Any) -> ComposedModel:
    torch.manual_seed(3)
    model = build(graph, **settings)
    for name, parameter in canonical_names(model).items():
        parameter.requires_grad_(name in stage.trained)
    return model


@pytest.fixture(scope="module", params=TRAINS)
def run(request, graph, batch) -> tuple[ComposedModel, ResolvedStage, dict[str, NodeCosts], Counts]:
    stage, costs = planned(graph, TRAINS[request.param])
    model = frozen_model(graph, stage)
    return model, stage, costs, count(model, graph, batch)


def test_what_runs_without_autograd_saves_nothing_and_is_not_called(run):
    model, _, costs, counts = run
    for name in (TOWER, PROJECTOR):
        assert (counts.saved[name] > 0, counts.calls[name] > 0) == (costs[name].autograd, costs[name].autograd), name
    for index, _ in enumerate(model.decoder_node.decoder.layers):
        runs = index >= costs[DECODER].frozen_layers
        place = f"layer {index}"
        assert (counts.saved[place] > 0, counts.calls[place] > 0) == (runs, runs), place


def test_gradients_are_of_what_trains_and_of_nothing_else(run):
    model, stage, _, _ = run
    assert {name for name, parameter in canonical_names(model).items() if parameter.grad is not None} == stage.trained


def test_products_of_the_forward_pass_are_those_of_the_plan(run, batch):
    _, _, costs, counts = run
    rows = rows_of(batch)
    assert {name: costs[name].forward_flops * rows[name] for name in rows} == pytest.approx(counts.forward, rel=1e-9)


def test_products_of_the_backward_pass_are_those_of_the_plan(run, batch):
    """To the last product, with two exceptions. A tower's table of positions, which is looked up, counts as a matrix
    before the others where the tower trains. Megatron-Core's router makes its weight's gradient though it is frozen
    (RouterGatingLinearFunction in moe_utils.py).
    """
    model, _, costs, counts = run
    rows = rows_of(batch)
    expected = sum(costs[name].backward_flops * rows[name] for name in rows)
    frozen_routers = [
        name for name, p in canonical_names(model).items() if name.endswith("router.weight") and not p.requires_grad
    ]
    reached = [name for name in frozen_routers if int(name.split(".")[3]) >= costs[DECODER].frozen_layers]
    expected += sum(2 * model.get_parameter(name).numel() * rows[DECODER] for name in reached)
    unnumbered = ("position_embedding_table", "input_proj.weight")
    looked_up = sum(model.get_parameter(f"{TOWER}.patch_embedder.{name}").numel() for name in unnumbered)
    doubt = 2 * looked_up * PATCHES_OF_A_ROW * rows[TOWER] if costs[TOWER].trained else 0
    assert abs(counts.backward - expected) <= doubt + 1e-6 * expected


def rows_of(batch: Batch) -> dict[str, int]:
    """Rows that each node works on: tokens; features; for a tower also those of padding, up to the largest picture."""
    pixels = batch.features["pixel_values"]
    return {
        TOWER: pixels.shape[0] * pixels.shape[1] // PATCHES_OF_A_ROW,
        PROJECTOR: int((batch.token_types > 0).sum()),
        DECODER: batch.input_ids.numel(),
    }


def test_a_frozen_decoder_behind_the_projector_keeps_less_than_one_that_trains(graph, batch):
    kept = {}
    for name in ("projector before a frozen decoder", "tower frozen"):
        stage, _ = planned(graph, TRAINS[name])
        kept[name] = count(frozen_model(graph, stage), graph, batch).saved
    frozen_decoder, trained = kept.values()
    assert 0 < frozen_decoder["layer 0"] < trained["layer 0"]


@pytest.mark.parametrize("selector", ["layers(-2..)", "decoder - embeddings", '"*.layers.1.*.linear_fc2.*"'])
@pytest.mark.parametrize("recompute", ["full", "selective"])
def test_recomputed_layers_behind_frozen_ones_get_the_same_gradients(graph, batch, selector, recompute):
    """Megatron-Core's checkpoints give parameters no gradient if their input carries none."""
    stage, _ = planned(graph, selector)
    modules = ("core_attn", "moe") if recompute == "selective" and active_experts(graph) < 1.0 else ()
    found = []
    for layout in (Layout(), Layout(recompute=recompute, recompute_modules=modules)):
        overrides = model_overrides(layout, graph.decoder().config.config.num_layers)
        model = frozen_model(graph, stage, **overrides).train()
        count(model, graph, batch)
        found.append({name: p.grad for name, p in canonical_names(model).items() if p.grad is not None})
    plain, again = found
    assert plain.keys() == again.keys() == stage.trained
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, rtol=0, atol=0, msg=name)
