"""The distribution: four import names that are ours, entry points that load, specs that travel with the wheel."""

import importlib.util
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

from adapters.cli.installation import IMPORT_NAMES, name_findings, owners_of
from composer.registry import components

ROOT = Path(__file__).resolve().parents[1]
SPECS = sorted((ROOT / "specs").glob("*.yaml"))


def test_the_four_names_are_this_tree() -> None:
    wrong = [finding.note for finding in name_findings(ROOT) if not finding.fine]
    assert not wrong, "\n".join(wrong)


def test_another_owner_of_a_name_is_an_error_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = tmp_path / "adapters-1.2.0.dist-info"
    stranger.mkdir()
    (stranger / "METADATA").write_text("Metadata-Version: 2.1\nName: adapters\nVersion: 1.2.0\n")
    (stranger / "RECORD").write_text("adapters/__init__.py,,\n")
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))

    assert owners_of(["adapters"])["adapters"] >= {"adapters"}
    note = {finding.name: finding.note for finding in name_findings(ROOT)}["import adapters"]
    assert note == "the distribution adapters also owns the import name `adapters`: pip uninstall adapters"


def test_a_name_that_resolves_elsewhere_is_an_error_that_says_where(tmp_path: Path) -> None:
    notes = {finding.name: finding.note for finding in name_findings(tmp_path)}
    assert notes["import specs"] == f"`import specs` finds {ROOT / 'specs'}, not {tmp_path / 'specs'}"


def test_the_command_and_the_components_are_entry_points() -> None:
    (script,) = entry_points(group="console_scripts", name="vlm-composer")
    assert callable(script.load())
    (builtin,) = entry_points(group="vlm_composer.components", name="builtin")
    names = {component.name for component in builtin.load()}
    assert {"vision.hf_tower", "projector.hf_module", "language.gpt"} <= names
    assert names <= components().keys()


def test_every_component_names_a_module_that_exists() -> None:
    lost = [item.implementation for item in components().values() if not importlib.util.find_spec(item.implementation)]
    assert not lost


def test_the_wheel_holds_code_and_specs_and_nothing_else(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"vlm_composer-{version('vlm-composer')}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in held} == set(IMPORT_NAMES)
    assert not [name for name in held if "__pycache__" in name]
    data = [path for path in (ROOT / "specs").rglob("*") if path.suffix in {".yaml", ".json"}]
    assert {path.relative_to(ROOT).as_posix() for path in data} <= held


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_a_spec_fits_on_a_page(spec: Path) -> None:
    lines = spec.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 100
    assert [number for number, line in enumerate(lines, 1) if len(line) > 120] == []


def test_there_are_specs() -> None:
    assert "gemma4_vl" in {path.stem for path in SPECS}
