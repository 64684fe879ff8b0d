"""Plain dicts on disk, named by the content they were made from: a second read imports no transformers."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

FORM = 4  # of the plain dict: count up when the same config.json must give another dict


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/vlm-composer`, or `~/.cache/vlm-composer`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vlm-composer"


def cached(raw: dict[str, Any], make: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Return `make(raw)`, read from the cache when this content was seen before by this transformers version."""
    key = json.dumps([FORM, version("transformers"), raw], sort_keys=True)
    path = cache_dir() / "configs" / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
    with contextlib.suppress(OSError, json.JSONDecodeError):
        return json.loads(path.read_text(encoding="utf-8"))
    made = make(raw)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        write_whole(path, json.dumps(made))
    return made


def write_whole(path: Path, text: str) -> None:
    """Write beside, then rename: a reader in another process sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        file.write(text)
    Path(file.name).replace(path)
