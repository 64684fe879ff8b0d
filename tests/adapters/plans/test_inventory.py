"""The inventory against the model that is really built, and the cache it is kept in."""

import subprocess
import sys
from math import prod

import pytest

from adapters.megatron import build, runtime
from adapters.plans import inventory_file
from adapters.plans.inventory import cached_at, inventory
from tests.parity.shipped_spec import SPEC, tiny_of

PARTS = {
    "vision_tower.patch_embedder.input_proj.weight": "tower",
    "vision_tower.encoder.layers.1.self_attn.q_norm.weight": "norms",
    "embed_vision.embedding_projection.weight": "projector",
    "language_model.embedding.word_embeddings.weight": "embeddings",
    "language_model.decoder.layers.1.input_layernorm.weight": "norms",
    "language_model.decoder.layers.1.self_attention.linear_qkv.weight": "attention",
    "language_model.decoder.layers.1.self_attention.k_norm.weight": "norms",
    "language_model.decoder.layers.1.mlp.dense.linear_fc1.weight": "dense",
    "language_model.decoder.layers.1.mlp.dense_norm.weight": "norms",
    "language_model.decoder.layers.1.mlp.experts.router.weight": "router",
    "language_model.decoder.layers.1.mlp.experts.router.expert_scale": "router",
    "language_model.decoder.layers.1.mlp.experts.experts.local_experts.7.linear_fc2.weight": "experts",
    "language_model.decoder.final_layernorm.weight": "norms",
}


def untied(graph):
    from attrs import evolve

    return evolve(graph, edges=tuple(edge for edge in graph.edges if type(edge).__name__ != "ShareEdge"))


@pytest.fixture(params=["experts", "dense", "untied"])
def graph(request, experts_graph, dense_graph):
    return {"experts": experts_graph, "dense": dense_graph, "untied": untied(dense_graph)}[request.param]


def test_parameters_are_those_of_the_real_model(graph):
    found = inventory(graph)
    with runtime.layout():
        model = build(graph)
    real = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert {each.name: each.shape for each in found.parameters} == real
    assert found.total == sum(map(prod, real.values()))
    assert found.tied == any(type(edge).__name__ == "ShareEdge" for edge in graph.edges)
    assert not found.problems


def test_what_each_parameter_belongs_to(experts_graph):
    by_name = {each.name: each for each in inventory(experts_graph).parameters}
    assert {name: by_name[name].part for name in PARTS} == PARTS
    head = [each.name for each in inventory(untied(experts_graph)).parameters if each.part == "head"]
    assert head == ["language_model.output_layer.weight"]


@pytest.mark.parametrize("name", ["qwen3_5_moe", "kimi_k25", "ernie4_5_vl_moe"])
def test_nothing_in_a_layer_belongs_to_the_head(name):
    parts = {each.name: each.part for each in inventory(tiny_of(name)).parameters if each.layer is not None}
    assert [name for name, part in parts.items() if part in ("head", "embeddings")] == []


def test_layers_experts_and_splits(experts_graph):
    by_name = {each.name: each for each in inventory(experts_graph).parameters}
    expert = by_name["language_model.decoder.layers.3.mlp.experts.experts.local_experts.7.linear_fc2.weight"]
    assert (expert.layer, expert.expert, expert.split) == (3, 7, 1)
    tower = by_name["vision_tower.encoder.layers.1.self_attn.q_proj.linear.weight"]
    assert (tower.layer, tower.expert, tower.split) == (None, None, None)
    splits = {
        "embedding.word_embeddings.weight": 0,
        "decoder.layers.0.self_attention.linear_qkv.weight": 0,
        "decoder.layers.0.self_attention.linear_proj.weight": 1,
        "decoder.layers.0.mlp.dense.linear_fc1.weight": 0,
        "decoder.layers.0.mlp.dense.linear_fc2.weight": 1,
        "decoder.layers.0.mlp.experts.router.weight": None,
        "decoder.layers.0.input_layernorm.weight": None,
    }
    assert {name: by_name[f"language_model.{name}"].split for name in splits} == splits


def test_a_file_gives_back_what_was_written(graph):
    found = inventory(graph)
    assert inventory_file.from_json(inventory_file.to_json(found)) == found


def test_the_second_answer_imports_no_torch(dense_graph, tmp_path):
    inventory(dense_graph)
    assert cached_at(dense_graph).is_file()
    (tmp_path / "spec.yaml").write_text(dump_of(dense_graph))
    code = (
        "import sys\n"
        "from adapters.plans.inventory import inventory\n"
        "from composer import load\n"
        f"found = inventory(load({str(tmp_path / 'spec.yaml')!r}))\n"
        "print(len(found.parameters), sorted({'torch', 'megatron', 'transformers', 'numpy'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == f"{len(inventory(dense_graph).parameters)} []"


def dump_of(graph):
    from composer.dump import dump

    return dump(graph)


def test_another_graph_or_version_has_another_file(experts_graph, dense_graph, monkeypatch):
    places = {cached_at(experts_graph), cached_at(dense_graph)}
    monkeypatch.setattr(inventory_file, "FORM", 0)
    assert len(places | {cached_at(experts_graph)}) == 3


def test_a_broken_file_is_made_anew(dense_graph):
    found = inventory(dense_graph)
    cached_at(dense_graph).write_text("[1, 2")
    assert inventory(dense_graph) == found
    assert inventory_file.from_json(cached_at(dense_graph).read_text()) == found


@pytest.mark.slow
def test_process_groups_of_the_caller_are_left_alone(dense_graph, tmp_path, monkeypatch):
    alone = inventory(dense_graph)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    with runtime.layout():
        assert inventory(dense_graph) == alone
        assert runtime.sizes()["tensor_model_parallel_size"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(("config", "billions"), [("gemma4_26b_a4b", 25.806), ("gemma4_31b", 31.273)])
def test_shipped_sizes_need_no_memory(config, billions):
    code = (
        "import resource\n"
        "from adapters.huggingface.config import plain\n"
        "from adapters.plans.inventory import inventory\n"
        "from composer import load\n"
        f"found = inventory(load({str(SPEC)!r}, hf=plain({str(SPEC.parent / 'configs' / config)!r} + '.json')))\n"
        "print(found.total, found.problems, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    total, problems, mebibytes = done.stdout.strip().split("\n")[-1].split()
    assert (round(int(total) / 1e9, 3), problems) == (billions, "()")
    assert int(mebibytes) < 2048
