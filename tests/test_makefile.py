"""`make` says clearly what is wrong with the interpreter, before it installs anything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# This interpreter, made to believe that it is older.
OLD = f"""#!/bin/sh
[ "$1" = --version ] && echo "Python 3.8.18" && exit 0
exec {sys.executable} -c 'import sys; sys.version_info = (3, 8, 18); exec(sys.argv[1])' "$2"
"""
NO_VENV = '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\nexit 0\n'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The project's own Makefile and what it reads, in an empty folder."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt", ".python-version"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def make(tree: Path, *words: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run make there, as if not started by another make."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    environment |= {"PATH": path} if path else {}
    return subprocess.run(["make", *words], cwd=tree, env=environment, capture_output=True, text=True, check=False)


def program(path: Path, text: str) -> Path:
    """An executable script."""
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_an_older_interpreter_is_named(tree: Path) -> None:
    old = program(tree / "python3", OLD)
    done = make(tree, "venv", f"PYTHON={old}")
    assert done.returncode != 0
    assert "vlm-composer needs Python 3.12" in done.stderr
    assert f"Found: {old}, which is Python 3.8.18." in done.stderr
    assert "make PYTHON=/path/to/python3.12" in done.stderr
    assert not (tree / ".venv").exists()


def test_no_interpreter_at_all(tree: Path) -> None:
    tools = tree / "tools"
    tools.mkdir()
    for name in ("make", "bash", "head", "touch", "sh"):
        (tools / name).symlink_to(
            next(Path(place) / name for place in os.get_exec_path() if (Path(place) / name).exists())
        )
    done = make(tree, "test", path=str(tools))
    assert done.returncode != 0
    assert "vlm-composer needs Python 3.12" in done.stderr
    assert "Found: python3, which is not installed." in done.stderr
    assert not (tree / ".venv").exists()


def test_an_interpreter_without_venv(tree: Path) -> None:
    bare = program(tree / "python3.12", NO_VENV)
    done = make(tree, "quickstart", f"PYTHON={bare}")
    assert done.returncode != 0
    assert "has no venv module" in done.stderr


@pytest.mark.parametrize("target", ["test", "check", "quickstart"])
def test_the_environment_is_made_once_and_again_when_its_versions_change(tree: Path, target: str) -> None:
    assert "-m venv" in make(tree, "--dry-run", target).stdout
    stamp = tree / ".venv" / ".installed"
    stamp.parent.mkdir()
    stamp.touch()
    assert "-m venv" not in make(tree, "--dry-run", target).stdout
    later = stamp.stat().st_mtime + 10
    os.utime(tree / "constraints.txt", (later, later))
    assert "-m venv" in make(tree, "--dry-run", target).stdout
