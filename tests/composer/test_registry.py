"""Components found by name, in this process and in installed distributions."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from composer import registry
from composer.registry import ComponentError, components, register, registered
from tests.composer.conftest import DECODER, PROJECTOR, TOWER


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of distributions, searched first."""
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._installed.cache_clear()
    yield tmp_path
    registry._installed.cache_clear()
    sys.modules.pop("third_party_parts", None)


def distribute(folder: Path, name: str, value: str, source: str) -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[vlm_composer.components]\n{name} = {value}\n")
    (folder / "third_party_parts.py").write_text(source)


PART = """
from attrs import frozen
from composer.registry import Component, Ports
@frozen
class Config: pass
def part(name): return Component(name, "tower", Config, lambda config: Ports({}, {}), "third_party_parts")
"""


def test_the_shipped_components_are_found() -> None:
    assert {"vision.hf_tower", "projector.hf_module", "language.gpt"} <= components().keys()


def test_a_registered_component_is_known_until_the_block_ends() -> None:
    with registered(TOWER, PROJECTOR):
        assert components()["part.tower"] is TOWER
    assert "part.tower" not in components()


def test_a_name_is_taken_once() -> None:
    with registered(TOWER):
        with pytest.raises(ComponentError, match=r"part\.tower is already registered"):
            register(TOWER)
        with pytest.raises(ComponentError), registered(DECODER, evolve(TOWER, role="projector")):
            pass
        assert "part.decoder" not in components(), "the first of the two is not left behind"
        assert components()["part.tower"].role == "tower"


def test_third_parties_offer_one_component_or_several(installed: Path) -> None:
    distribute(
        installed, "one", "third_party_parts:ONE", PART + "ONE = part('x.one')\nMORE = (part('x.two'), part('x.three'))"
    )
    distribute(installed, "more", "third_party_parts:MORE", (installed / "third_party_parts.py").read_text())
    assert {"x.one", "x.two", "x.three"} <= components().keys()


def test_two_distributions_with_one_name_are_an_error(installed: Path) -> None:
    distribute(installed, "again", "third_party_parts:ONE", PART + "ONE = part('vision.hf_tower')")
    with pytest.raises(ComponentError, match=r"component vision\.hf_tower is declared twice: .*third_party_parts"):
        components()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("third_party_parts:MISSING", "entry point broken = third_party_parts:MISSING cannot be loaded"),
        ("no_such_module:ONE", "entry point broken = no_such_module:ONE cannot be loaded"),
        ("third_party_parts:NONE", "a Component or a tuple of them is expected, not 3"),
    ],
)
def test_a_broken_entry_point_is_named(installed: Path, value: str, message: str) -> None:
    distribute(installed, "broken", value, PART + "NONE = 3")
    with pytest.raises(ComponentError, match=message):
        components()
