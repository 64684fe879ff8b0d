"""Everything here needs a CUDA device, and is skipped with that message where there is none."""

import os
from collections.abc import Callable, Iterator

import pytest
import torch

from benchmarks.environment import environment

# Float32 is float32 here: Transformer Engine multiplies it in TF32 where the shape allows, so that a token's rounding
# depends on how many tokens share its expert. Read by cuBLAS when it is first used.
os.environ["NVIDIA_TF32_OVERRIDE"] = "0"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/gpu/" in item.path.as_posix():
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session", autouse=True)
def _environment(record_testsuite_property: Callable[[str, object], None]) -> None:
    """What ran where, for the report (`--junitxml`)."""
    if torch.cuda.is_available():
        for name, value in environment().items():
            record_testsuite_property(name, value)


@pytest.fixture(params=["local", "transformer_engine"])
def transformer_impl(request: pytest.FixtureRequest) -> str:
    """Both implementations of linears, norms and causal attention."""
    if request.param == "transformer_engine":
        from megatron.core.extensions.transformer_engine import HAVE_TE

        if not HAVE_TE:
            pytest.skip("needs Transformer Engine: install vlm-composer[te]")
    return str(request.param)


@pytest.fixture(autouse=True)
def _empty_card() -> Iterator[None]:
    yield
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
