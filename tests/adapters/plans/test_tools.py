"""A machine without a browser skips what needs one, and says so; CI may not."""

import pytest

from tests.adapters.plans.tools import REQUIRED, program


def test_a_program_that_is_there():
    assert program("no-such-program", "bash").endswith("/bash")


def test_a_program_that_is_not(monkeypatch):
    monkeypatch.delenv(REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"no-such-program is not installed \(apt-get install"):
        program("no-such-program")
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match=f"and {REQUIRED} is set"):
        program("no-such-program")
