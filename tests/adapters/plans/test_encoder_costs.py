"""What towers and projectors are said to cost, against real runs of the same modules on the CPU."""

import pytest
import torch
from attrs import evolve
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from adapters.megatron import composed_config, runtime
from adapters.megatron.implementation import implementation
from adapters.plans.encoder_costs import UnfitCostsError, encoder_costs, fit, trace
from adapters.plans.encoder_inputs import ItemSize
from adapters.plans.making import make_inventory
from components.vision.hf_tower_declaration import HfTower
from tests.parity.shipped_spec import tiny_of

ITEMS = 3
POOL = 3
SIDES = (4, 10)
"""In pooled patches; not those that costs were fitted at, and within the tiny tower's position table."""


def siglip(graph, *dims):
    config = {
        "model_type": "siglip_vision_model",
        "hidden_size": 96,
        "intermediate_size": 80,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
        "vision_use_head": False,
    }
    shape = ("image", *dims, "channel", "height", "width")
    tower = HfTower(config=config, inputs={"pixel_values": shape}, out_dim=96)
    projector = graph.nodes["embed_vision"]
    section = projector.config
    args = (section.args[0] | {"hidden_size": 96}, *section.args[1:])
    nodes = {
        "vision_tower": evolve(graph.nodes["vision_tower"], config=tower),
        "embed_vision": evolve(projector, config=evolve(section, args=args, in_dim=96)),
    }
    inputs = {name: each for name, each in graph.inputs.items() if name != "image_position_ids"}
    inputs["pixel_values"] = evolve(inputs["pixel_values"], shape=shape)
    edges = tuple(edge for edge in graph.edges if edge.source.owner != "image_position_ids")
    return evolve(graph, nodes=graph.nodes | nodes, inputs=inputs, edges=edges)


@pytest.fixture(scope="module")
def encoders(dense_graph):
    return make_inventory(dense_graph).encoders


class Context:
    """As much of a BuildContext as towers and projectors read."""

    def __init__(self, graph, dtype):
        with runtime.layout():
            self.transformer = composed_config(graph, dtype=dtype)


def built(graph, node, dtype, device):
    component = implementation(graph.component(node))
    with torch.device(device):
        return component.build(graph.nodes[node].config, Context(graph, dtype))


def gemma_inputs(side):
    row, column = torch.meshgrid(torch.arange(side * POOL), torch.arange(side * POOL), indexing="ij")
    places = torch.stack([column.flatten(), row.flatten()], -1)
    return {
        "pixel_values": torch.rand(ITEMS, len(places), 48),
        "pixel_position_ids": places.repeat(ITEMS, 1, 1),
    }


def real_run(graph, node, dtype, inputs, *, trains):
    """Bytes that autograd keeps, by addresses, and FLOPs as torch's own counter says."""
    module = built(graph, node, dtype, "cpu").requires_grad_(trains)
    owned = {each.untyped_storage().data_ptr() for each in [*module.parameters(), *module.buffers()]}
    if node == "vision_tower":
        owned |= {each.untyped_storage().data_ptr() for each in inputs.values()}
    kept, held = {}, []

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned:
            kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)
        return tensor

    run = implementation(graph.component(node)).run
    if graph.component(node).role == "projector":
        inputs = inputs | {"item_rows": torch.full((ITEMS,), len(inputs["in"]) // ITEMS)}
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        output = run(module, graph.nodes[node].config, **inputs)
    with FlopCounterMode(display=False) as flops, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        run(module, graph.nodes[node].config, **inputs)
    assert output.requires_grad
    return sum(kept.values()), flops.get_total_flops()


def check(costs, rows, real, dtype, *, trains):
    bytes_kept, flops = real
    scaling, fixed = (costs.saved, costs.saved_wide) if trains else (costs.saved_frozen, costs.saved_frozen_wide)
    planned = ITEMS * (scaling(rows) * dtype.itemsize + fixed(rows))
    assert planned == pytest.approx(bytes_kept, rel=0.01)
    assert ITEMS * (costs.gemm(rows) + costs.attention(rows)) == pytest.approx(flops, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("trains", [True, False], ids=["trains", "frozen"])
@pytest.mark.parametrize("side", SIDES)
def test_gemma_tower(side, trains, dtype, dense_graph, encoders):
    costs = encoders[0]
    assert (costs.node, costs.traced) == ("vision_tower", True)
    inputs = gemma_inputs(side)
    inputs["pixel_values"].requires_grad_(not trains)
    real = real_run(dense_graph, "vision_tower", dtype, inputs, trains=trains)
    check(costs, side * side, real, dtype, trains=trains)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("trains", [True, False], ids=["trains", "frozen"])
def test_gemma_projector(trains, dtype, dense_graph, encoders):
    costs = encoders[1]
    assert (costs.node, costs.traced) == ("embed_vision", True)
    features = torch.rand(ITEMS * 36, 40, dtype=dtype, requires_grad=True)
    real = real_run(dense_graph, "embed_vision", dtype, {"in": features}, trains=trains)
    check(costs, 36, real, dtype, trains=trains)


def test_bytes_moved_and_kernels_by_hand(encoders):
    """Scale-free norm of 40 columns in float32, then a linear map: reads and writes of each kernel, in bytes a row."""
    costs = encoders[1]
    widen, square, mean, add, root, scale, narrow = (
        40 * (2 + 4),
        40 * (4 + 4),
        40 * 4 + 4,
        8,
        8,
        40 * (4 + 4) + 4,
        40 * 6,
    )
    moved = widen + square + mean + add + root + scale + narrow
    assert (costs.elementwise.constant, costs.elementwise.linear) == (0, moved / 2)
    assert costs.launches == 7 + 1
    assert costs.gemm.linear == 2 * 40 * 56


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("trains", [True, False], ids=["trains", "frozen"])
def test_tower_of_images_of_one_size(trains, dtype, dense_graph):
    """In bfloat16 the CPU's layer norm keeps statistics of two bytes, where CUDA's and ours have four: 0.6 %."""
    graph = siglip(dense_graph)
    costs = encoder_costs(graph, "vision_tower", built(graph, "vision_tower", dtype, "meta"))
    assert costs.gemm.linear == costs.gemm.quadratic == 0
    inputs = {"pixel_values": torch.rand(ITEMS, 3, 32, 32, requires_grad=not trains)}
    real = real_run(graph, "vision_tower", dtype, inputs, trains=trains)
    check(costs, 16, real, dtype, trains=trains)


def test_tower_of_patches_in_grids():
    """Windows and places of patches follow from lists made of the grids. By hand: one block of two sees all patches.

    4 patches of width 40 make a row; windows have 2 x 2 rows.
    """
    graph = tiny_of("qwen2_5_vl")
    costs = encoder_costs(graph, "visual", built(graph, "visual", torch.float32, "meta"))
    assert costs.traced
    assert costs.attention.quadratic == pytest.approx(4 * 40 * 4 * 4)
    assert costs.attention.linear == pytest.approx(4 * 40 * 4 * 16)
    projections = 3 * 40 * 40 + 40 * 40 + 3 * 40 * 64
    assert costs.gemm.linear == pytest.approx(2 * (4 * (96 * 40 + 2 * projections) + 160 * 160 + 160 * 56))


def test_tower_whose_first_product_casts_nothing():
    """Pixels are float32, its convolution bfloat16."""
    graph = tiny_of("kimi_k25")
    module = built(graph, "vision_tower", torch.bfloat16, "meta")
    assert trace(graph, "vision_tower", module, ItemSize(8), 2, trains=True).rows == 64


def test_a_run_makes_the_rows_it_was_asked_for(dense_graph):
    """The tower drops pooled rows of padding by a boolean index: of an item that fills its rows, none."""
    module = built(dense_graph, "vision_tower", torch.bfloat16, "meta")
    run = trace(dense_graph, "vision_tower", module, ItemSize(5), 2, trains=True)
    assert (run.rows, module.training) == (25, True)


def test_a_cost_of_another_form_is_no_polynomial():
    with pytest.raises(UnfitCostsError, match=r"^bytes kept is no polynomial of its rows: 20\.0% off at 400$"):
        fit("bytes kept", [64, 144, 256, 400], [64, 144, 256, 500])


def test_a_tower_that_cannot_be_run_is_estimated_and_named(dense_graph):
    made = make_inventory(siglip(dense_graph, "frame"))
    assert not made.encoders[0].traced
    assert made.encoders[0].gemm(16) > 0
    (problem,) = made.problems
    assert problem == (
        "vision_tower could not be run without real inputs (the spec gives pixel_values no size for 'frame', and the "
        "tower does not tell it): its time and memory are estimated from its parameters"
    )
