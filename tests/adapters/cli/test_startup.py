"""The command line is quick because it imports late: what a command may load is under test, not how long it takes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).parent / "vlm-composer"
ROOT = Path(__file__).resolve().parents[3]
HEAVY = {"torch", "transformers", "megatron", "numpy", "matplotlib", "tensorboard", "deepspeed"}


def imported_by(*arguments: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run the installed command; return what it did and the top-level packages it imported."""
    environment = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run([COMMAND, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return done, top_level_imports(done.stderr)


def top_level_imports(told: str) -> set[str]:
    """Packages in what Python says of its imports with PYTHONPROFILEIMPORTTIME."""
    names = re.findall(r"^import time:[^|]*\|[^|]*\| +([\w.]+)$", told, flags=re.MULTILINE)
    return {name.partition(".")[0] for name in names}


def test_the_list_of_imports_sees_a_heavy_one() -> None:
    done, imported = imported_by("doctor")
    assert done.returncode == 0, done.stdout
    assert "torch" in imported


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["train", "--help"],
        ["parity", "--help"],
        ["quickstart", "--help"],
        ["plan", "--help"],
        ["plan", "freeze", "--help"],
        ["ls"],
        ["validate", "specs/gemma4_vl.yaml"],
        ["validate", "gemma4_vl", "--set", "hf.text_config.hidden_size=64"],
        ["show", "gemma4_vl"],
        ["show", "gemma4_vl", "--format", "svg"],
        ["dump", "gemma4_vl", "--origin"],
        ["schema"],
    ],
    ids=" ".join,
)
def test_a_light_command_imports_nothing_heavy(arguments: list[str]) -> None:
    done, imported = imported_by(*arguments)
    assert done.returncode == 0, done.stderr
    assert "cyclopts" in imported
    assert not imported & HEAVY


def test_help_imports_no_command() -> None:
    _, imported = imported_by("--help")
    assert not imported & {"composer", "components", "yaml"}


def test_a_misspelt_command_imports_nothing_heavy() -> None:
    done, imported = imported_by("validat", "gemma4_vl")  # the command line looks at all of them for a near name
    assert done.returncode == 2
    assert "validate" in done.stderr
    assert not imported & HEAVY
