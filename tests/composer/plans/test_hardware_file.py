"""Hardware files: those shipped, and what is said of one that is wrong."""

from pathlib import Path

import pytest
from attrs import fields

from composer.errors import SpecError
from composer.plans.hardware import Efficiency
from composer.plans.hardware_file import load_hardware, parse_hardware, shipped_hardware

TEXT = shipped_hardware()["h100"].read_text()


@pytest.mark.parametrize("name", sorted(shipped_hardware()))
def test_shipped_files_are_complete_and_say_where_numbers_come_from(name: str):
    hardware = load_hardware(name)
    said = " ".join(hardware.sources)
    assert "datasheet" in said
    assert "launch_us" in said
    assert all(0 < getattr(hardware.efficiency, each.name) <= 1 for each in fields(Efficiency))


def test_the_four_are_there():
    assert set(shipped_hardware()) == {"a100", "b200", "h100", "h200"}


def test_a_users_own_file(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT.replace("nvlink_gbs: 450", "nvlink_gbs: 200"))
    assert load_hardware(str(path)).nvlink_gbs == 200
    assert load_hardware("H100").nvlink_gbs == 450


def test_a_name_that_is_nearly_one():
    with pytest.raises(
        SpecError, match=r"h10: no such file, and no shipped hardware has this name\. Did you mean 'h100'\?"
    ):
        load_hardware("h10")


def test_all_problems_at_once_with_their_lines():
    text = (
        TEXT.replace("tflops: 989", "tflops: -1")
        .replace("gemm: 0.716", "gemm: 1.2")
        .replace("node_gpus: 8", "node_gpus: 0")
    )
    with pytest.raises(SpecError) as raised:
        parse_hardware(text, "mine.yaml")
    said = str(raised.value)
    assert "mine.yaml:4:9: tflops: -1.0 is out of range: a number above 0 is expected." in said
    assert "node_gpus: 0 is too small: 1 or more is expected." in said
    assert "efficiency.gemm: 1.2 is no share of a peak: 0 < share <= 1 is expected." in said


def test_an_unknown_key_is_an_error_with_the_nearest():
    with pytest.raises(SpecError, match=r"nvlink_gbps.*nvlink_gbs"):
        parse_hardware(TEXT.replace("nvlink_gbs", "nvlink_gbps"), "mine.yaml")


def test_a_reserve_that_leaves_nothing():
    with pytest.raises(SpecError, match=r"reserve_gib: 90\.0 leaves nothing of memory_gib"):
        parse_hardware(TEXT.replace("reserve_gib: 3.0", "reserve_gib: 90"), "mine.yaml")
