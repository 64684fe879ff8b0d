"""The GPU section of docs/performance.md, from what a run on a GPU wrote.

`python benchmarks/performance_page.py gpu.xml gpu_step.json`, where `gpu.xml` is from
`pytest tests/gpu -o junit_family=xunit1 --junitxml=gpu.xml` and `gpu_step.json` from
`python benchmarks/gpu_step.py --out gpu_step.json`.
"""

import json
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
HEADING = "## On a GPU"


def main() -> None:
    """Write the section in place of the old one, or at the end; the rest of the page stays."""
    tests, step = Path(sys.argv[1]), Path(sys.argv[2])
    suite = ET.fromstring(tests.read_text()).find("testsuite")  # noqa: S314 (our own file)
    assert suite is not None
    lines = [
        HEADING,
        "",
        "One run; made from its output by `benchmarks/performance_page.py`, not by hand.",
        "",
        *_tests(suite),
        *_step(json.loads(step.read_text())),
    ]
    before, _, old = PAGE.read_text(encoding="utf-8").partition(HEADING)
    _, border, after = old.partition("\n## ")
    section = "\n".join(lines) + "\n"
    PAGE.write_text(f"{before.rstrip()}\n\n{section}{border}{after}", encoding="utf-8")


def _tests(suite: ET.Element) -> Iterator[str]:
    yield f"### Tests\n\n`pytest tests/gpu`, {suite.get('timestamp', '')[:10]}: {_counts(suite)}.\n"
    environment = {item.get("name"): item.get("value") for item in suite.findall("properties/property")}
    yield ", ".join(f"{name} {value}" for name, value in environment.items()) + ".\n"
    yield "Float32 is multiplied without TF32 there (`NVIDIA_TF32_OVERRIDE=0`, set by the tests): with it, Transformer"
    yield "Engine rounds a token differently when another number of tokens shares its expert, and `prove` sees that.\n"
    yield "Distance of bfloat16 logits from float32 ones (transformers, eager), relative and norm-wise over real"
    yield "tokens, with the same weights and inputs; the bound is 1.2 times transformers' own.\n"
    yield "| test | ours | transformers | ratio |\n|---|---|---|---|"
    for case in suite.iter("testcase"):
        for item in case.findall("properties/property"):
            cells = [part.split()[-1] for part in str(item.get("value")).split(" · ")]
            yield f"| `{case.get('name')}` | {' | '.join(cells)} |"
    yield "\n| test | cases | seconds |\n|---|---|---|"
    functions: dict[str, list[ET.Element]] = {}
    for case in suite.iter("testcase"):
        functions.setdefault(str(case.get("name")).partition("[")[0], []).append(case)
    for name, cases in functions.items():
        outcomes = Counter(_outcome(case) for case in cases)
        counted = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        yield f"| `{name}` | {counted} | {sum(float(case.get('time', 0)) for case in cases):.0f} |"


def _counts(suite: ET.Element) -> str:
    count = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    return ", ".join(f"{value} {name}" for name, value in count.items())


def _outcome(case: ET.Element) -> str:
    found = [name for name in ("failure", "error", "skipped") if case.find(name) is not None]
    return found[0] if found else "passed"


def _step(run: dict[str, Any]) -> Iterator[str]:
    setting = run["setting"]
    yield "\n### A training step beside transformers\n"
    length, layers = setting["length"], setting["layers"]
    yield f"`python benchmarks/gpu_step.py --length {length} --layers {layers}`: 26B-A4B widths,"
    yield f"{layers} layers, bfloat16, batch 1, {length} tokens, {setting['images']} images, frozen"
    yield f"tower, forward and backward, no optimizer; median of {setting['steps']} steps, the spread in brackets.\n"
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
