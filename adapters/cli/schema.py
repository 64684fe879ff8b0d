"""`vlm-composer schema`: the JSON Schema of specs."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def schema(
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], help="Write to this file [the screen].")] = None,
) -> None:
    """Print the JSON Schema of specs: with it an editor completes and checks them.

    It knows the components that are installed.
    """
    from composer.json_schema import json_schema

    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        print(text, end="")
    else:
        output.write_text(text, encoding="utf-8")
