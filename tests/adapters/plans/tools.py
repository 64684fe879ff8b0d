"""Programs that tests use and a machine may lack."""

import os
import shutil

import pytest

REQUIRED = "VLM_COMPOSER_REQUIRE_TOOLS"


def program(*names: str) -> str:
    """The path of the first program that is there; a skip that says so if none is, a failure where CI requires it."""
    for name in names:
        if (found := shutil.which(name)) is not None:
            return found
    message = f"{names[0]} is not installed (apt-get install {names[0]})"
    if os.environ.get(REQUIRED):
        pytest.fail(f"{message}, and {REQUIRED} is set")
    pytest.skip(message)
