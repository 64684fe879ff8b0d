"""Work that a decoder is said to do, beside what a running model does: FLOPs, kernels and bytes, counted one by one."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adapters.megatron import build
from components.language.attention_blocks import BLOCK_QUERIES
from components.language.work.ends import work_of_head
from components.language.work.layer import work_of_layer
from composer import Graph
from composer.plans.costs import Setting, Work
from composer.plans.layout import Layout
from composer.plans.time import setting as time_setting
from composer.plans.time.operation import BACKWARD_LAUNCHES
from tests.parity.shipped_spec import tiny_graph

LENGTH = 384
SIZES = (
    "hf.text_config.hidden_size=192",
    "hf.text_config.intermediate_size=160",
    "hf.text_config.moe_intermediate_size=64",
    "hf.text_config.kinds.sliding_attention.head_dim=32",
    "hf.text_config.kinds.full_attention.head_dim=64",
    "hf.text_config.vocab_size=1024",
)
ATTENTION = ("flash_attention", "efficient_attention", "_fused_attention")
NO_KERNEL = ("empty", "detach", "_local_scalar", "is_nonzero", "_unsafe_view", "c10d")


class Count(TorchDispatchMode):
    """Kernels, bytes read and written, and FLOPs of matrix products, by the module that runs."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.running = ["outside"]
        self.kernels: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.flops: Counter[str] = Counter()
        self.products: Counter[str] = Counter()
        for name, module in model.named_modules():
            module.register_forward_pre_hook(lambda *_, name=name: self.running.append(name))
            module.register_forward_hook(self._left)

    def _left(self, *_: object) -> None:
        self.running.pop()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name, place = str(function), self.running[-1]
        views = any(made.alias_info and not made.alias_info.is_write for made in function._schema.returns)
        if views or any(part in name for part in NO_KERNEL):
            return result
        if name.startswith(("aten.mm", "aten.addmm", "aten.bmm")):
            left, right = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)][-2:]
            self.products[place] += 1
            self.flops[place] += 2 * left.shape[-2] * left.shape[-1] * right.shape[-1]
        elif not any(part in name for part in ATTENTION):
            self.bytes[place] += _moved(name, args, {} if ".out" in name else kwargs, result)
            self.kernels[place] += 1
        return result

    def inside(self, counter: Counter[str], prefix: str, without: str = "\0") -> int:
        return sum(count for place, count in counter.items() if place.startswith(prefix) and without not in place)


def _moved(name: str, args: object, kwargs: object, result: object) -> int:
    """Bytes that an operation touches: of broadcast tensors what is stored, of lookups what is looked up."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
    if name.startswith("aten.index"):  # in the table, as many as come out or go in
        tensors = tensors[1:-1] * 2 if "put" in name else [*tensors[1:], tensors[-1]]
    stored = (min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()) for tensor in tensors)
    return sum(stored)


def run(graph: Graph, dtype: torch.dtype) -> Count:
    torch.manual_seed(0)
    model = build(graph, dtype=dtype).train()
    ids = torch.randint(3, 100, (1, LENGTH))
    embeds = torch.randn(1, LENGTH, graph.decoder().config.config.hidden_size, dtype=dtype, requires_grad=True)
    with Count(model) as count:
        loss, _ = model(input_ids=ids, inputs_embeds=embeds, labels=ids.roll(-1, 1))
        count.running = ["backward"]
        loss.float().mean().backward()
    return count


def setting(dtype: torch.dtype, **layout: int) -> Setting:
    return Setting(1, LENGTH, Layout(**layout), "local", dtype.itemsize)


def total(work: tuple[Work, ...], field: str, *kinds: str, without: tuple[str, ...] = ()) -> float:
    return sum(getattr(each, field) for each in work if each.kind in kinds and each.part not in without)


@pytest.fixture(scope="module", params=[0, 1], ids=["experts", "dense"])
def graph(request: pytest.FixtureRequest) -> Graph:
    return tiny_graph(request.param, SIZES)


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture(scope="module")
def counted(graph: Graph, dtype: torch.dtype) -> Count:
    return run(graph, dtype)


@pytest.mark.parametrize("number", [0, 1])
def test_a_layer_multiplies_what_it_says(graph: Graph, dtype: torch.dtype, counted: Count, number: int):
    section = graph.decoder().config
    work = work_of_layer(section, section.layers.order[number], setting(dtype))
    seen = counted.inside(counted.flops, f"language_model.decoder.layers.{number}")
    assert total(work, "flops", "gemm", "grouped_gemm") == seen


@pytest.mark.parametrize("number", [0, 1])
def test_a_layer_starts_and_moves_about_what_it_says(graph: Graph, dtype: torch.dtype, counted: Count, number: int):
    section, place = graph.decoder().config, f"language_model.decoder.layers.{number}"
    work = work_of_layer(section, section.layers.order[number], setting(dtype))
    # Attention's kernel and masks differ between a CPU and a GPU.
    said = total(work, "launches", "elementwise", without=("core_attention", "python"))
    assert said == pytest.approx(counted.inside(counted.kernels, place, "core_attention"), rel=0.1)
    said = total(work, "bytes", "elementwise", without=("core_attention", "python"))
    assert said == pytest.approx(counted.inside(counted.bytes, place, "core_attention"), rel=0.1)


def test_capped_attention_multiplies_and_moves_about_what_it_says(dtype: torch.dtype):
    """No kernel hides it: every product and every pass over the scores is counted, and masks are made once."""
    graph = tiny_graph(1, (*SIZES, "nodes.language_model.layers.every.attention.softcap=2.0"))
    section, counted = graph.decoder().config, run(graph, dtype)
    for number in (0, 1):
        kind = section.layers.order[number]
        work = tuple(each for each in work_of_layer(section, kind, setting(dtype)) if each.part == "core_attention")
        # Layers of a kind share the module; products are counted for one key/value head.
        place, layers = f"language_model.decoder.layers.{number}.self_attention.core", section.layers.order.count(kind)
        groups = section.layers.kinds[kind].attention.kv_heads
        assert total(work, "flops", "gemm") == counted.inside(counted.flops, place) * groups / layers
        seen = counted.inside(counted.bytes, place) / layers
        assert total(work, "bytes", "elementwise") == pytest.approx(seen, rel=0.15)


PLACES = {
    ("rotation", "attention"): lambda place: place == "self_attention",
    ("router",): lambda place: place.startswith("mlp.experts.router"),
    ("experts",): lambda place: place.startswith("mlp.experts.experts"),
    ("dispatch",): lambda place: place == "mlp.experts",
    ("dense",): lambda place: place == "mlp.dense",
    ("norms",): lambda place: "norm" in place and "router" not in place,
    ("residual",): lambda place: place in {"", "mlp"},
}
"""Parts, and the modules within a layer that run them."""


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("parts", PLACES, ids="-".join)
def test_a_part_moves_about_what_it_says(
    graph: Graph, dtype: torch.dtype, counted: Count, number: int, parts: tuple[str, ...]
):
    section, layer = graph.decoder().config, f"language_model.decoder.layers.{number}"
    work = work_of_layer(section, section.layers.order[number], setting(dtype))
    said = sum(each.bytes for each in work if each.part in parts and each.kind == "elementwise")
    places = {place: place.removeprefix(layer).removeprefix(".") for place in counted.bytes if place.startswith(layer)}
    seen = sum(counted.bytes[place] for place, within in places.items() if PLACES[parts](within))
    assert said == pytest.approx(seen, rel=0.15)


def test_the_backward_pass_multiplies_twice_as_much(graph: Graph, dtype: torch.dtype, counted: Count):
    section = graph.decoder().config
    layers = [work_of_layer(section, kind, setting(dtype)) for kind in section.layers.order]
    work = [each for layer in (*layers, work_of_head(section, setting(dtype))) for each in layer]
    said = sum(each.flops * (each.backward + each.weight_backward) for each in work if each.kind != "attention")
    assert said == counted.flops["backward"]


def test_the_head(graph: Graph, dtype: torch.dtype, counted: Count):
    work = work_of_head(graph.decoder().config, setting(dtype))
    assert total(work, "flops", "gemm") == counted.flops["language_model.output_layer"]
    seen = counted.bytes["language_model"] + counted.bytes["language_model.decoder.final_layernorm"]
    assert total(work, "bytes", "elementwise") == pytest.approx(seen, rel=0.1)


def test_backward_bytes_and_kernels(graph: Graph, dtype: torch.dtype, counted: Count):
    section = graph.decoder().config
    layers = [work_of_layer(section, kind, setting(dtype)) for kind in section.layers.order]
    work = [each for layer in (*layers, work_of_head(section, setting(dtype))) for each in layer]
    moved = [each for each in work if each.kind == "elementwise" and each.part != "core_attention"]
    said = sum(each.bytes * (each.backward + each.weight_backward) for each in moved)
    assert said == pytest.approx(counted.bytes["backward"], rel=0.1)
    # Time estimates start so many kernels backward for one forward.
    both = counted.kernels + counted.products
    ratio = both["backward"] / counted.inside(both, "language_model")
    assert ratio == pytest.approx(BACKWARD_LAUNCHES, abs=0.12)


def test_blocks_of_queries_are_those_of_the_kernel():
    """`composer` cannot import the number, so it is written there again."""
    assert time_setting.BLOCK_QUERIES == BLOCK_QUERIES
