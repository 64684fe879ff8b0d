"""Where a configuration is read from: a directory, a JSON file, the hub, or a dict."""

import json
import re
from pathlib import Path
from typing import Any

from components.hf_config import HfConfigError

HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def read_config(source: str | Path | dict[str, Any]) -> dict[str, Any]:
    """Return the content of a `config.json`.

    Args:
        source: a directory that holds `config.json`, a JSON file, a hub id (`owner/name` or `owner/name@revision`),
            or the content itself.

    Raises:
        HfConfigError: nothing there, or not a JSON object; the message names what was tried.
    """
    if isinstance(source, dict):
        return source
    path = Path(source)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise HfConfigError(f"{path}: no config.json in this directory")
        return _read_json(path / "config.json")
    if path.is_file():
        return _read_json(path)
    if isinstance(source, str) and (hub_id := HUB_ID.fullmatch(source)) and not source.endswith(".json"):
        return _read_json(_download(hub_id["repo"], hub_id["revision"]))
    raise HfConfigError(f"{source}: no such directory or file, and not a hub id like google/gemma-4-26B-A4B")


def _download(repo: str, revision: str | None) -> Path:
    """Path of the hub's `config.json` in its local cache; asks the hub only when needed and allowed."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    name = repo if revision is None else f"{repo}@{revision}"
    try:
        return Path(hf_hub_download(repo, "config.json", revision=revision))
    except LocalEntryNotFoundError as error:
        raise HfConfigError(
            f"{name}: no such directory, and the hub cannot be reached (offline?); the config is not in its cache"
        ) from error
    except (HfHubHTTPError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise HfConfigError(
            f"{name}: no such directory, and the hub does not give its config.json: {reason}"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise HfConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise HfConfigError(f"{path}: not a configuration: expected a JSON object, got {type(content).__name__}")
    return content
