"""Planned memory beside the measured: `python -m benchmarks.gpu_memory --out FILE.json` on one card.

Gemma 4 VL at the widths of 26B-A4B and 31B with fewer layers, bfloat16, real training steps; every row is a process of
its own, so that no peak is another row's. `--tiny` runs the same rows with small models, on any machine; `--rows` some.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from attrs import asdict, fields, frozen

from composer.plans.answer import GIB, Memory

AHEAD = 3
SHARE = 0.1
"""How far a planned peak may be from the measured."""


@frozen
class Row:
    """A configuration. layers: letters s (sliding) and f (full); images: of each sample, of 256 feature rows each.

    optimizer: whether steps are taken; without, gradients are made and summed, which leaves room for more layers.
    head: without, the layers end as on a pipeline stage that is not the last, and their own peak shows: with a head, a
    few layers are fullest at the logits.
    """

    name: str
    layers: str = "sf"
    model: str = "26b"
    length: int = 2048
    micro_batch: int = 1
    images: int = 4
    implementation: str = "local"
    recompute: str = "none"
    modules: tuple[str, ...] = ()
    trains: tuple[str, ...] = ("embed_vision", "language_model")
    optimizer: bool = True
    head: bool = True


ALL = ("vision_tower", "embed_vision", "language_model")
SIX = "sssssf"
TE = "transformer_engine"
ROWS = (
    Row("local, steps"),
    Row("local, full recomputation, 2 samples", length=4096, micro_batch=2, recompute="full"),
    Row("local, six layers, 12 images", SIX, length=4096, images=12, optimizer=False),
    Row("local, six layers, core attention again", SIX, length=4096, recompute="selective", optimizer=False),
    Row("local, block by block, no image", "ssf", length=8192, images=0, optimizer=False),
    Row("TE, steps", length=4096, implementation=TE),
    Row("TE, six layers, 12 images", SIX, length=4096, images=12, implementation=TE, optimizer=False),
    Row("TE, six layers, full recomputation", SIX, length=4096, implementation=TE, recompute="full", optimizer=False),
    Row("TE, tower trains", images=2, implementation=TE, trains=ALL),
    Row("TE, projector alone", SIX, length=4096, images=12, implementation=TE, trains=("embed_vision",)),
    Row("TE, dense 31B widths, 2 samples", model="31b", micro_batch=2, implementation=TE),
    Row("TE, experts again", "ssff", implementation=TE, recompute="selective", modules=("moe",), optimizer=False),
    Row("local, no head", "ssff", length=4096, optimizer=False, head=False),
    Row("TE, no head", "ssff", length=4096, implementation=TE, optimizer=False, head=False),
    Row(
        "TE, no head, full recomputation",
        SIX,
        length=4096,
        implementation=TE,
        recompute="full",
        optimizer=False,
        head=False,
    ),
)


def main() -> None:
    """Every row: planned, measured, ratio."""
    arguments = _arguments()
    if arguments.row:
        print(json.dumps(_measured(_row(arguments.row), tiny=arguments.tiny)))
        return
    begin, rows = time.time(), []
    wanted = [row for row in ROWS if not arguments.rows or row.name in arguments.rows]
    # The next ones import what they need while one is measured; they touch the card when they are told to.
    waiting = [_started(row, tiny=arguments.tiny) for row in wanted[:AHEAD]]
    for number, row in enumerate(wanted):
        if number + AHEAD < len(wanted):
            waiting.append(_started(wanted[number + AHEAD], tiny=arguments.tiny))
        found = asdict(row) | _one(row, waiting.pop(0), tiny=arguments.tiny)
        rows.append(found)
        print(_line(found), flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps({"rows": rows, "seconds": time.time() - begin}, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the numbers there, as JSON")
    parser.add_argument("--rows", nargs="+", help="names of the rows to run; all by default")
    parser.add_argument("--tiny", action="store_true", help="small models; on a machine without a card, no peaks")
    parser.add_argument("--row", help="measure one row in this process")
    return parser.parse_args()


def _row(name: str) -> Row:
    return next(row for row in ROWS if row.name == name)


def _started(row: Row, *, tiny: bool) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.gpu_memory", "--row", row.name, *(["--tiny"] if tiny else [])]
    pipe = subprocess.PIPE
    # Errors go to a file: a full pipe would stop a process that nobody reads yet.
    errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (closed with the process's end)
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True)
    process.errors = errors  # type: ignore[attr-defined]
    return process


def _one(row: Row, process: "subprocess.Popen[str]", *, tiny: bool) -> dict[str, Any]:
    """Measured in its process, planned here meanwhile."""
    begin = time.time()
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    planned = _planned(row, tiny=tiny)
    output, _ = process.communicate(timeout=300)
    if process.returncode:
        errors: Any = process.errors  # type: ignore[attr-defined]
        errors.seek(0)
        return {"planned": planned, "error": errors.read()[-3000:], "seconds": time.time() - begin}
    measured = json.loads(output.splitlines()[-1])
    peak = measured.get("peak")
    ratio = planned["peak"] / peak if peak else None
    return {"planned": planned, "measured": measured, "ratio": ratio, "seconds": time.time() - begin}


def _line(found: dict[str, Any]) -> str:
    planned = found["planned"]["peak"] / GIB
    if "error" in found:
        return f"{found['name']}: planned {planned:.2f} GiB; failed: {found['error'].splitlines()[-1]}"
    peak = found["measured"].get("peak")
    if peak is None:
        return f"{found['name']}: planned {planned:.2f} GiB; no card, no peak"
    verdict = "" if abs(found["ratio"] - 1) <= SHARE else " <- off"
    both = f"planned {planned:.2f}, measured {peak / GIB:.2f} GiB, {found['ratio']:.3f}{verdict}"
    return f"{found['name']}: {both} ({found['seconds']:.0f} s)"


def _planned(row: Row, *, tiny: bool) -> dict[str, Any]:
    """Bytes by component, without the reserve, and those at the other moments that are measured too."""
    from benchmarks.memory_rows import execution, hardware, job, layout_of, model_of, without_head
    from composer.plans.memory import memory_of
    from composer.plans.memory.setting import setting_of

    model, asked = model_of(row, tiny=tiny), job(row, tiny=tiny)
    if row.head:
        [rank] = memory_of(model, asked, execution(row), hardware())
        parts = {each.name: getattr(rank.memory, each.name) for each in fields(Memory) if each.name != "reserve"}
    else:
        parts = without_head(model, asked, row)
    if not row.optimizer:
        parts["optimizer"] = 0
    setting = setting_of(model, asked, layout_of(row), row.micro_batch)
    states = parts["weights"] + parts["gradients"] + parts["optimizer"]
    kept = parts["activations"] + parts["towers"] + parts["masks"]
    if row.head:
        kept += sum(each.bytes for each in model.decoder.head(setting).saved if each.part == "logits")
    return {"parts": parts, "states": states, "kept": kept, "peak": sum(parts.values())}


def _measured(row: Row, *, tiny: bool) -> dict[str, Any]:
    from benchmarks.memory_rows import measure

    sys.stdin.readline()
    return measure(row, tiny=tiny)


if __name__ == "__main__":
    main()
