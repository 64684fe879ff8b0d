"""Settings of all tests."""

import pytest
from hypothesis import settings

# How long one example takes says more about the machine's other work than about the code.
settings.register_profile("default-without-deadline", deadline=None)
settings.load_profile("default-without-deadline")

LAUNCHING = ("tests/distributed/", "tests/interop/", "test_prove_layouts.py")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share one launch of several ranks go to one process: else each process would launch them again."""
    for item in items:
        file = item.path.as_posix()
        if any(folder in file for folder in LAUNCHING):
            item.add_marker(pytest.mark.xdist_group(file))
