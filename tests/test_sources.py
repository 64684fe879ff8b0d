"""Every shipped configuration says where it comes from."""

import re
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[1] / "specs" / "configs"
PUBLIC, _, MADE = (CONFIGS / "SOURCES.md").read_text(encoding="utf-8").partition("## Not of a checkpoint")


def rows(text: str) -> dict[str, str]:
    """The files of a table, each with the cells behind it."""
    return dict(re.findall(r"^\| `([^`]+\.json)` \| (.+) \|$", text, re.MULTILINE))


def test_configurations_of_checkpoints_have_a_public_source() -> None:
    assert rows(PUBLIC).keys() == {path.name for path in CONFIGS.glob("*.json")}


def test_a_source_is_a_file_of_a_named_repository_at_a_commit() -> None:
    """Or another row's: MaxText's file has several."""
    named = re.compile(r"GitHub `[\w-]+/[\w.-]+`.*commit `[0-9a-f]{40}`")
    assert [file for file, cells in rows(PUBLIC).items() if not (named.search(cells) or "the same" in cells)] == []


def test_all_others_are_made_by_a_class() -> None:
    made = {f"defaults/{path.name}" for path in (CONFIGS / "defaults").glob("*.json")}
    assert {file for file, cells in rows(MADE).items() if re.match(r"`\w+Config\(", cells)} == made
