"""Hardware files: the shipped ones by name, a user's own by path; read like a spec, with positions."""

from collections.abc import Iterator
from pathlib import Path

from attrs import fields

from composer.decode import DecodeError, reader_of
from composer.errors import Problem, SpecError
from composer.finding import Finding
from composer.path import parse_path
from composer.plans.hardware import Efficiency, Hardware
from composer.ranges import positive, whole
from composer.source import read_tree
from composer.suggestion import suggestion


def shipped_hardware() -> dict[str, Path]:
    """The hardware files that came with the package, by bare name."""
    import specs  # data only

    return {path.stem: path for folder in specs.__path__ for path in sorted(Path(folder, "hardware").glob("*.yaml"))}


def load_hardware(name: str) -> Hardware:
    """Read a hardware file.

    Args:
        name: a path, or the bare name of a shipped file (`h100`).

    Raises:
        SpecError: nothing has this name, or with all problems of the file at once, each with its line.
    """
    shipped = shipped_hardware()
    path = Path(name)
    if not path.is_file():
        if name.lower() not in shipped:
            hint = suggestion(path.stem.lower(), shipped)
            raise SpecError([Problem(None, "", f"{name}: no such file, and no shipped hardware has this name.{hint}")])
        path = shipped[name.lower()]
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([Problem(None, "", f"{path}: cannot be read: {error}.")]) from None
    return parse_hardware(text, str(path))


def parse_hardware(text: str, file: str) -> Hardware:
    """Hardware from YAML text; `file` is the name that problems carry.

    Raises:
        SpecError: with all problems at once, each with its line.
    """
    tree, problems = read_tree(text, file)
    try:
        hardware: Hardware = reader_of(Hardware)(tree, ())
        problems += [
            Problem(tree.locate(parse_path(found.path)), found.path, found.text()) for found in _findings(hardware)
        ]
    except DecodeError as error:
        problems += error.problems
    if problems:
        raise SpecError(problems, {file: text})
    return hardware


def _findings(hardware: Hardware) -> Iterator[Finding]:
    for name in ("memory_gib", "tflops", "fp32_tflops", "memory_gbs", "nvlink_gbs", "network_gbs"):
        yield from positive(name, getattr(hardware, name))
    for name in ("latency_us", "launch_us", "reserve_gib", "spread"):
        yield from positive(name, getattr(hardware, name), zero=True)
    yield from whole("node_gpus", hardware.node_gpus)
    if hardware.reserve_gib >= hardware.memory_gib > 0:
        message = f"{hardware.reserve_gib} leaves nothing of memory_gib: {hardware.memory_gib} ({{0}})."
        yield Finding("reserve_gib", message, ("memory_gib",))
    if hardware.spread >= 1:
        yield Finding("spread", f"{hardware.spread} is no share: less than 1 is expected.")
    for name in (each.name for each in fields(Efficiency)):
        share = getattr(hardware.efficiency, name)
        if not 0 < share <= 1:
            yield Finding(f"efficiency.{name}", f"{share} is no share of a peak: 0 < share <= 1 is expected.")
