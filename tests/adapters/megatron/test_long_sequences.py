"""A step at S = 32,768: nothing of the size of a table of all pairs is made, forward or backward."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adapters.megatron import build
from components.language import core_attention
from tests.parity.shipped_spec import tiny_graph

LENGTH = 32_768
IMAGE_ROWS = 64
ONE_LAYER_OF_EACH_KIND = (
    "hf.text_config.num_hidden_layers=2",
    "hf.text_config.layer_types=[sliding_attention, full_attention]",
    "hf.text_config.num_attention_heads=1",
    "hf.text_config.kinds.sliding_attention.num_key_value_heads=1",
    "hf.text_config.kinds.full_attention.num_key_value_heads=1",
)


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return result


def step(length: int) -> int:
    """Elements of the largest tensor of a forward and backward pass with a few pictures."""
    torch.manual_seed(0)
    graph = tiny_graph(1, ONE_LAYER_OF_EACH_KIND)
    model = build(graph).train()
    ids = torch.randint(3, 100, (1, length))
    for start in (100, length // 2 - 5, length - 200):
        ids[0, start : start + IMAGE_ROWS] = graph.tokens["image"]
    embeds = torch.randn(1, length, graph.decoder().config.config.hidden_size, requires_grad=True)
    pool = graph.hf_config["vision_config"]["pooling_kernel_size"]
    side = 8 * pool
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    positions = torch.stack([x.flatten(), y.flatten()], -1).expand(3, -1, -1)
    patch = 3 * graph.hf_config["vision_config"]["patch_size"] ** 2
    with Largest() as largest:
        loss, _ = model(
            inputs_embeds=embeds,
            input_ids=ids,
            pixel_values=torch.rand(3, side * side, patch),
            image_position_ids=positions,
            labels=ids.roll(-1, 1),
        )
        loss.mean().backward()
    assert embeds.grad is not None
    return largest.elements


def test_no_tensor_of_all_pairs():
    assert step(LENGTH) < LENGTH**2 // 16


def test_the_measure_sees_a_table(monkeypatch):
    """The same step at a length at which a table is kept makes one."""
    monkeypatch.setattr(core_attention, "TABLE_PAIRS", 2**24)
    assert step(2_048) >= 2_048**2
    monkeypatch.setattr(core_attention, "TABLE_PAIRS", 2**20)
    assert step(2_048) < 2_048**2
