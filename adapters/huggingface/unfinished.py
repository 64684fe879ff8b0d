"""A checkpoint that is there whole or not at all."""

import os
import shutil
from pathlib import Path

from adapters.huggingface.checkpoint import INDEX, SINGLE
from adapters.huggingface.checkpoint_error import CheckpointError

HIDDEN = ".unfinished"


class Unfinished:
    """Files of a checkpoint in a hidden folder of the target, until `finish` puts them in place.

    A run that dies before leaves nothing that loads: readers look for the index, or the single file, and that is put in
    place last, after any old one was taken away. What it leaves in the hidden folder, the next export removes.
    """

    def __init__(self, target_dir: Path, overwrite: bool) -> None:
        """Make room.

        Raises:
            CheckpointError: weights are there already, and may not be overwritten.
        """
        self.target_dir, self.folder = target_dir, target_dir / HIDDEN
        # Old shards beside new ones would be read again, or confuse whoever lists the directory.
        old = self._old()
        if old and not overwrite:
            raise CheckpointError(
                target_dir, [f"holds weights already ({old[0].name}, …); choose another or overwrite"]
            )
        self.discard()
        self.folder.mkdir(parents=True)

    def _old(self) -> list[Path]:
        return sorted([*self.target_dir.glob("model*.safetensors"), *self.target_dir.glob(INDEX)], key=_entry_last)

    def finish(self) -> None:
        """Replace what is there by the new files."""
        for path in reversed(self._old()):
            path.unlink()
        for path in sorted(self.folder.iterdir(), key=_entry_last):
            path.replace(self.target_dir / path.name)
        self.folder.rmdir()
        directory = os.open(self.target_dir, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def discard(self) -> None:
        """Remove the new files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _entry_last(path: Path) -> tuple[bool, str]:
    return path.name in {SINGLE, INDEX}, path.name
