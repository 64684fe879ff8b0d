import json
import subprocess
import sys

import pytest

from composer import Graph, SpecError, load, loads
from composer.decode import reader_of
from tests.composer.specs import GEMMA4, SHIPPED, small, written

TEXT = written(small())


def problems(text: str, **options) -> list[str]:
    with pytest.raises(SpecError) as caught:
        loads(text, file="f", **options)
    return [problem.headline() for problem in caught.value.problems]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_specs_load(path) -> None:
    graph = load(path)
    assert isinstance(graph, Graph)
    assert graph.hf_config
    graph.check()


def test_a_file_and_its_text_give_equal_graphs(tmp_path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text("\ufeff" + TEXT, encoding="utf-8")
    assert load(path) == loads(TEXT)
    assert load(str(path)).origins.tree.file == str(path)


@pytest.mark.parametrize(("name", "reason"), [("absent.yaml", "No such file"), ("", "Is a directory")])
def test_unreadable_files(tmp_path, name: str, reason: str) -> None:
    with pytest.raises(SpecError, match=f"cannot be read: {reason}"):
        load(tmp_path / name)


def hf_spec(section: str) -> str:
    return TEXT.replace("image: 7", "image: ${hf.image}") + f"hf: {section}\n"


def test_a_given_configuration_wins_over_the_default_and_is_not_shared(tmp_path) -> None:
    (tmp_path / "default.json").write_text(json.dumps({"image": 5, "deep": {"a": 1}}))
    path = tmp_path / "spec.yaml"
    path.write_text(hf_spec("{architecture: A, default: default.json, config: {image: 6}}"))
    given = {"image": 4, "deep": {"a": 1}}
    graph = load(path, hf=given)
    assert graph.tokens["image"] == 4
    graph.hf_config["deep"]["a"] = 2
    assert given["deep"] == {"a": 1}
    assert load(path).tokens["image"] == 6
    path.write_text(hf_spec("{architecture: A, default: default.json}"))
    assert load(path).tokens["image"] == 5


def test_a_configuration_nobody_reads_is_an_error() -> None:
    assert problems(TEXT, hf={}) == [
        "f:1:1: hf: a configuration is given, but the spec has no hf section that would read it."
    ]


def test_node_configurations_do_not_share_data_with_the_graphs_configuration() -> None:
    graph = load(GEMMA4)
    vision = graph.nodes["vision_tower"].config.config
    assert vision == graph.hf_config["vision_config"]
    vision["id2label"]["0"] = "changed"
    assert graph.hf_config["vision_config"]["id2label"]["0"] != "changed"


def test_both_configurations_of_one_spec() -> None:
    path = next(path for path in SHIPPED if path.stem == "gemma4_vl")
    dense = load(path, overrides=["hf.default=configs/gemma4_31b.json"])
    experts = load(path)
    ffn = [graph.decoder().config.layers.kinds["full_attention"].ffn for graph in (dense, experts)]
    assert [branch.experts is None for branch in ffn] == [True, False]
    assert all(branch.dense for branch in ffn)


def test_conditions_are_decided_before_fields_are_read() -> None:
    text = TEXT + "  - {kind: share, from: decoder.embedding_weight, to: decoder.output_weight, when: hf.tie}\n"
    section = "hf: {architecture: A, config: {tie: %s}}\n"
    assert [len(loads(text + section % tie).edges) for tie in ("true", "false")] == [7, 6]
    always = text.replace(", when: hf.tie", "") + section % "false"
    assert len(loads(always).edges) == 7
    assert len(loads(always, overrides=["edges[6].when=hf.tie"]).edges) == 6


def test_a_broken_node_does_not_hide_a_wrong_edge_nor_blame_a_sound_one() -> None:
    text = TEXT.replace("in_dim: 32", "in_dim: x").replace("kind: scatter", "kind: scattr")
    text = text.replace("decoder.rotary", "decoder.rotery")
    found = problems(text)
    assert [line.split(": ")[1] for line in found] == ["nodes.projector.in_dim", "edges[3].kind", "edges[4].to"]


def test_problems_are_sorted_by_line() -> None:
    text = TEXT.replace("spec: 1", "spec: 3").replace("(causal", "((causal").replace("out_dim: 32", "out_dim: no")
    lines = [int(line.split(":")[1]) for line in problems(text)]
    assert len(lines) == 3
    assert lines == sorted(lines)


def test_numbers_of_edges_are_those_of_the_document() -> None:
    text = TEXT.replace("kind: embed", "kind: embd").replace("at: [image]", "at: [imagine]")
    assert [line.split(": ")[1] for line in problems(text)] == ["edges[0].kind", "edges[3].at[0]"]


def test_loading_imports_no_heavy_package() -> None:
    heavy = {"torch", "megatron", "transformers", "numpy", "networkx", "cattrs", "importlib.resources"}
    code = "import sys, composer; composer.load(sys.argv[1]); print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code, str(GEMMA4)], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())


def test_readers_are_compiled_once() -> None:
    assert reader_of(dict[str, int]) is reader_of(dict[str, int])
