"""Plans against ranks that are really built; and that a plan which is wrong is told what is wrong."""

import subprocess
import sys

import pytest
from attrs import evolve

from adapters.megatron import runtime
from adapters.plans.building import build_ranks
from adapters.plans.making import make_inventory
from adapters.plans.verification_text import verification_text
from adapters.plans.verify import compare, verify, verify_inventory
from composer.edges import ShareEdge
from composer.plans.execution import Execution
from composer.plans.layout import Layout
from composer.plans.shards import rank_kinds, shard
from tests.distributed.graphs import tiny
from tests.parity.shipped_spec import SPEC

SP = {"sequence_parallel": True}
TABLE = "language_model.embedding.word_embeddings.weight"


def untied():
    graph = tiny("dense")
    return evolve(graph, edges=tuple(edge for edge in graph.edges if not isinstance(edge, ShareEdge)))


GRAPHS = {"experts": lambda: tiny("experts"), "dense": lambda: tiny("dense"), "untied": untied}
LAYOUTS = {
    "dp": (8, {}),
    "tp2sp": (8, {"tp": 2, **SP}),
    "pp2": (8, {"pp": 2}),
    "pp4": (16, {"pp": 4}),
    "pp2vp2": (8, {"pp": 2, "virtual_stages": 2}),
    "pp2_first1": (8, {"pp": 2, "first_stage_layers": 1}),
    "pp2_last1": (8, {"pp": 2, "last_stage_layers": 1}),
    "pp3_first1_last1": (12, {"pp": 3, "first_stage_layers": 1, "last_stage_layers": 1}),
    "pp3_first0": (12, {"pp": 3, "first_stage_layers": 0}),
    "pp3_last0": (12, {"pp": 3, "last_stage_layers": 0}),
    "pp4_first0_last0": (12, {"pp": 4, "first_stage_layers": 0, "last_stage_layers": 0}),
    "cp2": (8, {"cp": 2}),
    "cp2tp2sp_pp2": (16, {"cp": 2, "tp": 2, "pp": 2, **SP}),
}
EXPERT_LAYOUTS = {
    "ep2": (8, {"ep": 2}),
    "ep2etp2": (8, {"ep": 2, "etp": 2, "tp": 2, **SP}),
    "ep4tp2": (8, {"ep": 4, "tp": 2, **SP}),
    "pp2ep8": (16, {"pp": 2, "ep": 8}),
    "pp2vp2ep2tp2": (16, {"pp": 2, "virtual_stages": 2, "ep": 2, "tp": 2, **SP}),
    "etp2": (8, {"etp": 2}),
    "512 ranks": (512, {"pp": 4, "ep": 8, "tp": 2, **SP}),
    "4096 ranks": (4096, {"pp": 2, "ep": 8, "etp": 2, "tp": 2, "cp": 2, **SP}),
}
CASES = [(graph, name) for graph in GRAPHS for name in LAYOUTS] + [("experts", name) for name in EXPERT_LAYOUTS]


@pytest.fixture(scope="module")
def inventories():
    return {name: make_inventory(make()) for name, make in GRAPHS.items()}


def execution(name):
    gpus, fields = (LAYOUTS | EXPERT_LAYOUTS)[name]
    return Execution(gpus, Layout(**fields))


@pytest.mark.parametrize(("graph", "name"), CASES)
def test_shards_are_real(graph, name, inventories):
    checked = verify_inventory(GRAPHS[graph](), inventories[graph], execution(name))
    assert checked.differences == ()
    assert checked.real
    assert len(checked.ranks) == len(rank_kinds(inventories[graph], execution(name).layout))
    assert sum(rank.elements for rank in checked.ranks) > 0


def wrong_split(inventory):
    name = "language_model.decoder.layers.2.self_attention.linear_proj.weight"
    return evolve(
        inventory, parameters=tuple(evolve(p, split=0) if p.name == name else p for p in inventory.parameters)
    )


def other_shape(inventory):
    return evolve(
        inventory,
        parameters=tuple(
            evolve(p, shape=(p.shape[0] + 4,)) if p.name.endswith("layers.3.input_layernorm.weight") else p
            for p in inventory.parameters
        ),
    )


def forgotten_table(inventory):
    return evolve(inventory, tied=False)


def forgotten_parameter(inventory):
    return evolve(inventory, parameters=tuple(p for p in inventory.parameters if "k_norm" not in p.name))


def experts_too_many(inventory):
    """Ten of them: five for each of two ranks."""
    more = [
        evolve(p, name=p.name.replace("local_experts.7.", f"local_experts.{number}."), expert=number)
        for p in inventory.parameters
        if p.expert == 7
        for number in (8, 9)
    ]
    return evolve(inventory, parameters=(*inventory.parameters, *more))


LAYERS = "language_model.decoder.layers"
EXPERT = f"{LAYERS}.0.mlp.experts.experts.local_experts"
WRONG = {
    "split": (
        ("dense", "tp2sp", wrong_split),
        f"rank 0: {LAYERS}.2.self_attention.linear_proj.weight is [56, 32] on the rank; the plan says [28, 64]",
    ),
    "shape": (
        ("dense", "pp2", other_shape),
        "rank 4: language_model.decoder.layers.3.input_layernorm.weight is [56] on the rank; the plan says [60]",
    ),
    "tied": (
        ("dense", "pp2", forgotten_table),
        f"rank 4: {TABLE} [256, 56] is on the rank and not in the plan",
    ),
    "parameter": (
        ("dense", "dp", forgotten_parameter),
        f"rank 0: {LAYERS}.0.self_attention.k_norm.weight [8] is on the rank and not in the plan (and 1 like it)",
    ),
    "experts": (
        ("experts", "ep2", experts_too_many),
        f"rank 0: {EXPERT}.4.linear_fc1.weight [80, 56] is in the plan and not on the rank (and 3 like it)",
    ),
    "experts of the last rank": (
        ("experts", "ep2", experts_too_many),
        f"rank 1: {EXPERT}.4.linear_fc1.weight [80, 56] is on the rank and not in the plan (and 3 like it)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_plan_is_told_what_is_wrong(name, inventories):
    (graph, layout, change), expected = WRONG[name]
    checked = verify_inventory(GRAPHS[graph](), change(inventories[graph]), execution(layout))
    assert not checked.real
    assert expected in verification_text(checked)


def test_a_layer_too_few_on_a_stage(inventories):
    """The plan puts a layer less on the first stage than the run does."""
    planned, run = execution("pp2_first1").layout, execution("pp2")
    kinds = {kind.first_rank(run.gpus, run.layout): kind for kind in rank_kinds(inventories["dense"], run.layout)}
    text = ""
    for (rank, kind), built in zip(kinds.items(), build_ranks(tiny("dense"), run, tuple(kinds)), strict=True):
        shards = shard(inventories["dense"], planned, kind.pipeline_ranks[0])
        text += "".join(f"{each}\n" for each in compare(f"rank {rank}", kind, shards, built))
    assert "rank 0: holds layers 0–1; the plan says 0\n" in text
    assert "rank 4: holds layers 2–3; the plan says 1–3\n" in text
    name = "language_model.decoder.layers.1.input_layernorm.weight [56]"
    assert f"rank 0: {name} is on the rank and not in the plan\n" in text
    assert f"rank 4: {name} is in the plan and not on the rank\n" in text


def test_a_rank_that_stands_elsewhere(inventories):
    """Ranks of a pipeline are `gpus / pp` apart; one counted otherwise is found at another place."""
    run = execution("pp2ep8")
    first, *_ = rank_kinds(inventories["experts"], run.layout)
    (built,) = build_ranks(tiny("experts"), run, (9,))
    found = [str(each) for each in compare("rank 9", first, shard(inventories["experts"], run.layout, 0), built)]
    assert found[0] == "rank 9: is pipeline rank 1; the plan says 0"
    assert found[1] == "rank 9: is expert-parallel rank 1; the plan says 0"


def test_a_layout_that_cannot_be_built_says_why(inventories):
    text = verification_text(verify_inventory(GRAPHS["experts"](), inventories["experts"], Execution(8, Layout(tp=2))))
    assert "rank 0: cannot be built: experts with tensor_model_parallel_size=2 need sequence_parallel=True" in text
    text = verification_text(verify_inventory(GRAPHS["dense"](), inventories["dense"], Execution(9, Layout(pp=2))))
    assert "1 differences" not in text
    assert "rank 0, rank 4: cannot be built: world_size (9) is not divisible by 2" in text


def test_what_is_printed(inventories):
    text = verification_text(verify_inventory(GRAPHS["experts"](), inventories["experts"], execution("pp2ep8")))
    head, *ranks, last = text.split("\n")
    assert head == "gemma4_vl on 16 ranks (pp 2, ep 8): built one rank of each of 4 kinds on the meta device."
    assert ranks[3].startswith("  rank 15: pipeline rank 1 of 2, expert rank 7 of 8: layers 2–3, last stage: ")
    assert last == "Places, layers, parameter names and shapes are equal to the plan's."
    text = verification_text(verify_inventory(GRAPHS["dense"](), inventories["dense"], execution("pp2vp2")))
    assert "rank 4: pipeline rank 1 of 2: layers 1, 3 in 2 virtual stages, last stage: " in text
    text = verification_text(verify_inventory(GRAPHS["dense"](), inventories["dense"], execution("pp2_first1")))
    assert "rank 0: pipeline rank 0 of 2: layer 0, first stage: " in text


@pytest.mark.slow
def test_process_groups_of_the_caller_are_left_alone():
    with runtime.layout():
        assert verify(GRAPHS["dense"](), execution("pp2")).real
        assert runtime.sizes()["pipeline_model_parallel_size"] == 1
    assert runtime.sizes() == {}


SHIPPED = {
    "gemma4_26b_a4b": [
        Execution(512, Layout(tp=2, pp=2, ep=8, **SP)),
        Execution(4096, Layout(tp=2, pp=4, ep=16, first_stage_layers=6, last_stage_layers=8, **SP)),
        Execution(4096, Layout(tp=2, pp=2, virtual_stages=3, ep=8, etp=2, cp=2, **SP)),
    ],
    "gemma4_31b": [
        Execution(512, Layout(tp=4, pp=4, **SP)),
        Execution(4096, Layout(tp=4, pp=8, first_stage_layers=6, last_stage_layers=6, **SP)),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("config", SHIPPED)
def test_shipped_sizes_on_512_and_4096_ranks(config):
    code = (
        "import resource\n"
        "from adapters.huggingface.config import plain\n"
        "from adapters.plans.verify import verify\n"
        "from adapters.plans.verification_text import verification_text\n"
        "from composer import load\n"
        "from tests.adapters.plans.test_verify import SHIPPED\n"
        f"graph = load({str(SPEC)!r}, hf=plain({str(SPEC.parent / 'configs' / config)!r} + '.json'))\n"
        f"for execution in SHIPPED[{config!r}]:\n"
        "    print(verification_text(verify(graph, execution)))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
    )
    root = SPEC.parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    lines = done.stdout.strip().split("\n")
    equal = "Places, layers, parameter names and shapes are equal to the plan's."
    assert lines.count(equal) == len(SHIPPED[config]), done.stdout
    assert int(lines[-1]) < 2048
