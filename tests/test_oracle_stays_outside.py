"""No language model and no mask function of transformers in what we build: they are what we measure against."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILT = [*ROOT.glob("composer/**/*.py"), *ROOT.glob("components/**/*.py"), *ROOT.glob("adapters/megatron/**/*.py")]
ALLOWED = {"AutoModel", "CONFIG_MAPPING", "PreTrainedConfig", "__version__"}
REFUSED = {"PreTrainedModel", "MODEL_FOR_CAUSAL_LM_MAPPING"}  # looked at to refuse whole models as parts


def taken_from_transformers(source: str) -> Iterator[str]:
    """What a file imports of transformers: names, or whole modules."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "transformers":
            prefix = "" if node.module == "transformers" else f"{node.module}."
            yield from (prefix + alias.name for alias in node.names)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "transformers")


@pytest.mark.parametrize("path", BUILT, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_only_towers_and_configurations_are_taken(path: Path) -> None:
    assert set(taken_from_transformers(path.read_text(encoding="utf-8"))) <= ALLOWED | REFUSED


def test_an_import_of_a_mask_function_would_be_seen() -> None:
    assert set(taken_from_transformers("from transformers.masking_utils import create_causal_mask")) - ALLOWED
    assert set(taken_from_transformers("import transformers.masking_utils as masks")) - ALLOWED
    assert set(taken_from_transformers("def f():\n    from transformers import AutoModelForCausalLM")) - ALLOWED


def test_the_files_are_found() -> None:
    assert len(BUILT) > 50
