"""ls, validate, show, dump and schema, on the shipped spec."""

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
import yaml

from adapters.cli.arguments import shipped_specs
from composer import load

Run = Callable[..., object]
ROOT = Path(__file__).resolve().parents[3]


def test_ls_has_every_spec_with_its_default_size(run: Run) -> None:
    outcome = run("ls")
    assert outcome.status == 0
    for name, path in shipped_specs().items():
        (line,) = [line for line in outcome.out.splitlines() if line.split()[:1] == [name]]
        assert load(path).description in line
    assert "gemma4_26b_a4b: 30 layers of 2816" in outcome.out


def test_validate_counts_what_it_found(run: Run) -> None:
    by_path = run("validate", str(ROOT / "specs" / "gemma4_vl.yaml"))
    by_name = run("validate", "gemma4_vl")
    graph = load(ROOT / "specs" / "gemma4_vl.yaml")
    told = f"gemma4_vl: valid ({len(graph.nodes)} nodes, {len(graph.edges)} edges, {len(graph.inputs)} inputs)\n"
    assert by_path.out == by_name.out == told
    assert by_path.status == by_name.status == 0


def test_a_beginning_of_names_that_no_tensor_has_is_told_with_its_line(run: Run, tmp_path: Path) -> None:
    text = (ROOT / "specs" / "glm4v_moe.yaml").read_text()
    line = next(n for n, each in enumerate(text.splitlines(), start=1) if "{mlp.shared_expert: " in each)
    spec = tmp_path / "glm.yaml"
    spec.write_text(
        text.replace("{mlp.shared_expert: ", "{mlp.shared_expertt: ").replace("configs/", f"{ROOT}/specs/configs/")
    )
    outcome = run("validate", str(spec))
    assert outcome.status == 2
    assert f"glm.yaml:{line}:13: nodes.language_model.names: no name in our table begins with" in outcome.err
    assert "Did you mean 'mlp.shared_expert'?" in outcome.err


def test_hf_and_set_reach_the_graph(run: Run) -> None:
    dense = ROOT / "specs" / "configs" / "gemma4_31b.json"
    outcome = run(
        "dump", "gemma4_vl", "--hf", str(dense), "--set", "hf.vision_config.hidden_size=96", "--set", "name=mine"
    )
    assert outcome.status == 0, outcome.err
    dumped = yaml.safe_load(outcome.out)
    assert dumped["name"] == "mine"
    assert dumped["nodes"]["embed_vision"]["in_dim"] == 96
    assert dumped["nodes"]["language_model"]["config"]["num_layers"] == 60


def test_a_dump_is_a_spec_of_the_same_graph(run: Run, tmp_path: Path) -> None:
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(run("dump", "gemma4_vl").out)
    again = run("dump", str(resolved))
    assert again.status == 0, again.err
    assert again.out == resolved.read_text()


def test_a_dump_with_origins_says_where_values_came_from(run: Run) -> None:
    outcome = run("dump", "gemma4_vl", "--origin", "--set", "name=mine")
    lines = outcome.out.splitlines()
    (name,) = [line for line in lines if line.startswith("name: mine")]
    assert "--set" in name
    assert any("hf.text_config.hidden_size" in line for line in lines)


def test_show_draws_every_node_in_every_format(run: Run, tmp_path: Path) -> None:
    nodes = load(ROOT / "specs" / "gemma4_vl.yaml").nodes
    for form in ("terminal", "svg", "json", "mermaid"):
        printed = run("show", "gemma4_vl", "--format", form)
        assert printed.status == 0, printed.err
        written = tmp_path / form
        assert run("show", "gemma4_vl", "--format", form, "-o", str(written)).out == ""
        assert written.read_text(encoding="utf-8") == printed.out
        assert [name for name in nodes if name not in printed.out] == []
    ElementTree.parse(tmp_path / "svg")
    json.loads((tmp_path / "json").read_text())


def test_the_schema_takes_every_shipped_spec_and_refuses_a_typing_error(run: Run) -> None:
    schema = json.loads(run("schema").out)
    for path in shipped_specs().values():
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        jsonschema.validate(document, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document | {"nods": {}}, schema)
