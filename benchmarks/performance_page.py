"""docs/performance.md from what a run on a GPU wrote.

`python benchmarks/performance_page.py gpu.xml gpu_step.json > docs/performance.md`, where `gpu.xml` is from
`pytest tests/gpu --junitxml=gpu.xml` and `gpu_step.json` from `python benchmarks/gpu_step.py --out gpu_step.json`.
"""

import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEAD = """\
# On a GPU

What one run printed; made from its output by `benchmarks/performance_page.py`, not by hand.
"""


def main() -> None:
    """Print the page."""
    tests, step = Path(sys.argv[1]), Path(sys.argv[2])
    print(HEAD)
    suite = ET.fromstring(tests.read_text()).find("testsuite")  # noqa: S314 (our own file)
    assert suite is not None
    print("\n".join(_tests(suite)))
    print("\n".join(_step(json.loads(step.read_text()))))


def _tests(suite: ET.Element) -> Iterator[str]:
    yield f"## Tests\n\n`pytest tests/gpu`, {suite.get('timestamp', '')[:10]}: {_counts(suite)}.\n"
    environment = {item.get("name"): item.get("value") for item in suite.findall("properties/property")}
    yield ", ".join(f"{name} {value}" for name, value in environment.items()) + ".\n"
    yield "Distance of bfloat16 logits from float32 ones (transformers, eager), relative and norm-wise over real"
    yield "tokens, with the same weights and inputs; the bound is 1.2 times transformers' own.\n"
    yield "| test | ours | transformers | ratio |\n|---|---|---|---|"
    for case in suite.iter("testcase"):
        for item in case.findall("properties/property"):
            cells = [part.split()[-1] for part in str(item.get("value")).split(" · ")]
            yield f"| `{case.get('name')}` | {' | '.join(cells)} |"
    yield "\n| test | seconds | |\n|---|---|---|"
    yield from (
        f"| `{case.get('name')}` | {float(case.get('time', 0)):.1f} | {_outcome(case)} |" for case in _cases(suite)
    )


def _cases(suite: ET.Element) -> Iterator[ET.Element]:
    return suite.iter("testcase")


def _counts(suite: ET.Element) -> str:
    count = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    return ", ".join(f"{value} {name}" for name, value in count.items())


def _outcome(case: ET.Element) -> str:
    found = [name for name in ("failure", "error", "skipped") if case.find(name) is not None]
    return found[0] if found else "passed"


def _step(run: dict[str, Any]) -> Iterator[str]:
    setting = run["setting"]
    yield "\n## A training step beside transformers\n"
    length, layers = setting["length"], setting["layers"]
    yield f"`python benchmarks/gpu_step.py --length {length} --layers {layers}`: 26B-A4B widths,"
    yield f"{layers} layers, bfloat16, batch 1, {length} tokens, {setting['images']} images, frozen"
    yield f"tower, forward and backward, no optimizer; median of {setting['steps']} steps, the spread in brackets."
    yield ", ".join(f"{name} {value}" for name, value in run["environment"].items()) + ".\n"
    yield "| | parameters | step, ms | ratio | peak, GiB | loss |\n|---|---|---|---|---|---|"
    for row in run["rows"]:
        if row["milliseconds"] is None:
            yield f"| {row['contender']} | | did not run: {row['error']} | | | |"
            continue
        times = f"{row['milliseconds']:.0f} ({row['fastest']:.0f} to {row['slowest']:.0f})"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        cells = (
            row["contender"],
            f"{row['parameters']:,}",
            times,
            ratio,
            f"{row['gibibytes']:.1f}",
            f"{row['loss']:.2f}",
        )
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
