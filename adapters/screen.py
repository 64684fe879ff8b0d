"""Where the command line prints: a console that leaves tables whole in pipes and files."""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 160
"""Characters a line where nobody says how many there are: tables of reports fit."""


def screen() -> "Console":
    """A console on stdout, as wide as the terminal; `WIDTH` where there is none, unless COLUMNS says otherwise."""
    from rich.console import Console

    is_known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if is_known else WIDTH)
