"""A component from somebody else's package: installed, named in a spec, checked, built, trained a step, and missed."""

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from adapters.megatron import build, runtime
from composer import SpecError, load, registry

HERE = Path(__file__).parent
PROJECTOR = """  projector:
    component: example.gated_projector
    in_dim: 64
    out_dim: 128
"""


@pytest.fixture(scope="module")
def wheel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example package is installed: a folder for the path, as `pip install --target` makes one."""
    made, target = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(made)]
    subprocess.run(command, cwd=HERE / "example_package", check=True, capture_output=True)
    (wheel,) = made.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


@pytest.fixture
def installed(wheel_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package can be found; what entry points offer is asked for anew."""
    monkeypatch.syspath_prepend(str(wheel_folder))
    registry._installed.cache_clear()
    yield
    monkeypatch.undo()
    registry._installed.cache_clear()


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """The spec of docs/first-spec.md with this projector."""
    text = (HERE.parent / "docs" / "first-spec.md").read_text(encoding="utf-8")
    (whole,) = re.findall(r"^```yaml\n(spec: 1\n.*?)^```", text, re.DOTALL | re.MULTILINE)
    changed = re.sub(r"  projector:\n.*?(?=  language_model:)", PROJECTOR, whole, flags=re.DOTALL)
    path = tmp_path / "gated.yaml"
    path.write_text(changed, encoding="utf-8")
    return path


@pytest.mark.usefixtures("installed")
def test_a_spec_that_names_it_runs_and_its_projector_trains(spec: Path) -> None:
    runtime.init(seed=1)
    model = build(load(spec), dtype=torch.float32)
    ids = torch.full((2, 24), 7)
    ids[:, 3:19] = 500
    logits = model(ids, None, None, pixel_values=torch.randn(2, 3, 64, 64))
    assert logits.shape == (2, 24, 512)
    logits.square().mean().backward()
    gradients = {name: value.grad for name, value in model.projector.named_parameters()}
    assert gradients.keys() == {"rows.weight", "rows.bias", "gate.weight", "gate.bias"}
    assert all(gradient is not None and gradient.any() for gradient in gradients.values())


@pytest.mark.usefixtures("installed")
def test_its_own_checks_and_its_widths_are_told_with_the_line(spec: Path) -> None:
    with pytest.raises(SpecError) as wrong:
        load(spec, overrides=["nodes.projector.in_dim=0"])
    assert "nodes.projector.in_dim: 0 is no width." in str(wrong.value)
    with pytest.raises(SpecError) as narrow:
        load(spec, overrides=["nodes.projector.out_dim=96"])
    assert "96" in str(narrow.value)
    assert "128" in str(narrow.value)


def test_without_the_package_the_error_says_what_is_known(spec: Path) -> None:
    with pytest.raises(SpecError) as missing:
        load(spec)
    assert "example.gated_projector" in str(missing.value)
    assert "projector.hf_module" in str(missing.value)
    assert f"{spec.name}:" in str(missing.value)
