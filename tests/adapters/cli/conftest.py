"""Run the command line in this process."""

from collections.abc import Callable

import pytest
from attrs import frozen

from adapters.cli.app import main


@frozen
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Call it with the command's words; every command leaves through `SystemExit`."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str) -> Outcome:
        with pytest.raises(SystemExit) as leaving:
            main(words)
        captured = capsys.readouterr()
        assert isinstance(leaving.value.code, int)
        return Outcome(leaving.value.code, captured.out, captured.err)

    return call
