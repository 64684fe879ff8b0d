"""Several specs in one process: importing torch, Megatron-Core and transformers takes longer than a tiny model."""

import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from adapters.cli.arguments import spec_file
from adapters.cli.failure import UsageError, is_for_people


def spec_files(specs: Sequence[str], hf: str | None) -> list[Path]:
    """The files that specs mean.

    Raises:
        UsageError: no spec is named, or one that is not there, or a checkpoint beside several.
    """
    if not specs:
        raise UsageError("name a spec: a file, or the bare name of a shipped one.")
    if hf is not None and len(specs) > 1:
        raise UsageError(f"--hf gives the sizes of one spec, and here are {len(specs)}: run them one by one.")
    return [spec_file(spec) for spec in specs]


def each_spec(files: Sequence[Path], work: Callable[[Path], int]) -> int:
    """The largest exit status; a spec that fails leaves the others their turn.

    With one spec errors are left to the caller.
    """
    if len(files) == 1:
        return work(files[0])
    found = {file.stem: _status(file, work) for file in files}
    if wrong := [name for name, status in found.items() if status]:
        print(f"{len(files) - len(wrong)} of {len(files)} specs; not: {', '.join(wrong)}")
    else:
        print(f"all {len(files)} specs")
    return max(found.values())


def _status(file: Path, work: Callable[[Path], int]) -> int:
    try:
        return work(file)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is this spec's alone)
        if is_for_people(error):
            print(f"{file.stem}: {error}", file=sys.stderr)
            return 2
        traceback.print_exception(error)
        return 1
