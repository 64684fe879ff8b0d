"""The page about a new model: its commands, one after the other, print what it shows."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "new-model.md").read_text(encoding="utf-8")
CONSOLE = re.compile(r"^```console\n\$ vlm-composer (.*?)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMANDS = CONSOLE.findall(PAGE)


def words(text: str) -> str:
    """Text without line breaks, which depend on the width of the terminal."""
    return " ".join(text.split())


def run(folder: Path, arguments: list[str]) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.slow
def test_every_command_prints_what_is_shown(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    run(tmp_path, ["-c", code])
    for command, shown in COMMANDS:
        printed = words(run(tmp_path, ["-m", "adapters.cli", *shlex.split(command)]))
        place = 0
        for piece in re.split(r"^\.\.\.$", shown, flags=re.MULTILINE):
            found = printed.find(words(piece), place)
            assert found >= 0, f"{command}\n{piece}\nis not in\n{printed}"
            place = found + len(words(piece))
    assert (tmp_path / "cards" / "my_ocr.md").is_file()


def test_the_page_shows_all_three_kinds_of_commands() -> None:
    assert [command.split()[0] for command, _ in COMMANDS[:3]] == ["init", "validate", "parity"]
    assert len(COMMANDS) >= 6
