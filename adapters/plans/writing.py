"""A plan written out: the files of a folder, from which a job can be started."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrs import frozen

from adapters.deepspeed.config import deepspeed_config
from adapters.plans.megatron_arguments import execution_arguments
from adapters.plans.problems import PlanUseError
from adapters.plans.reading import PlanFile
from adapters.plans.scripts import Command, Nodes, run_script, slurm_script
from adapters.plans.training_settings import settings_notes
from adapters.training.findings import findings
from adapters.training.ranks import check_processes
from adapters.training.settings import Training
from adapters.training.settings_file import settings_text
from composer.graph import Graph

TRAINING, MEGATRON, DEEPSPEED, RUN, SLURM = "training.yaml", "megatron.args", "deepspeed.json", "run.sh", "job.sbatch"
SUBMIT = "sbatch job.sbatch; options of sbatch go before the file's name, those of `vlm-composer train` after it."
MARK = "_written_by"
"""Key of `deepspeed.json` that holds what other files have as a comment."""


@frozen
class Written:
    """A folder's files by name, why some are not there, and what else someone should know."""

    files: dict[str, str]
    absent: dict[str, str]
    notes: tuple[str, ...]

    def save(self, folder: Path) -> None:
        """Write the files; one of an earlier plan that this one has not is taken away, if it was written here."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.files.items():
            path = folder / name
            path.write_text(text, encoding="utf-8", errors="surrogateescape")
            path.chmod(0o755 if name == RUN else 0o644)
        for name in self.absent:
            path = folder / name
            if path.is_file() and "vlm-composer" in path.read_text(encoding="utf-8", errors="replace")[:400]:
                path.unlink()


def write_out(
    file: PlanFile, graph: Graph, settings: Training, command: Command, folder: Path, header: list[str]
) -> Written:
    """All files of a plan.

    Args:
        file: the plan.
        graph: that it is for.
        settings: of the run, with the plan's execution.
        command: how training is started.
        folder: where the files will be, absolute.
        header: lines that say what wrote a file; control characters are made visible.

    Raises:
        PlanUseError: the settings contradict themselves.
        LaunchError: the layout or the batches do not fit the number of GPUs.
    """
    plan = file.plan
    if found := findings(settings):
        raise PlanUseError("\n".join(f"{file.path}: {path}: {message}" for path, message in found))
    check_processes(settings, plan.execution.gpus)
    header = [visible(line) for line in header]
    notes = settings_notes(plan, settings, graph)
    nodes = Nodes.of(plan.execution.gpus, plan.hardware.node_gpus)
    files = {
        TRAINING: "".join(f"# {line}\n" for line in header) + settings_text(settings),
        RUN: run_script([*header, *_run_words(nodes)], command, nodes),
        SLURM: slurm_script([*header, SUBMIT], command, nodes, str(folder), graph.name),
    }
    absent = {}
    if plan.execution.engine == "megatron":
        files[MEGATRON] = _megatron_text(file, graph, header)
        absent[DEEPSPEED] = "the plan is for Megatron-Core; ZeRO has none of its layout"
    else:
        files[DEEPSPEED] = _deepspeed_text(settings, plan.execution.data_ranks, header)
        absent[MEGATRON] = "the plan is for DeepSpeed's ZeRO, which Megatron-LM's pretrain does not run"
    return Written(files, absent, tuple(notes))


def visible(text: str) -> str:
    """A line without control characters, so that a name cannot end the comment that it stands in."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _run_words(nodes: Nodes) -> list[str]:
    start = (
        f"./run.sh on a machine of {nodes.gpus} GPUs"
        if nodes.count == 1
        else f"NODE_RANK=n MASTER_ADDR=host ./run.sh on each of {nodes.count} machines of {nodes.gpus} GPUs"
    )
    return [f"{start}; options of `vlm-composer train` may follow (--dry-run, --resume)."]


def _megatron_text(file: PlanFile, graph: Graph, header: Iterable[str]) -> str:
    """One argument a line, its words parted by blanks."""
    lines = [
        *header,
        "Arguments of Megatron-LM's pretrain with adapters.megatron.provider (docs/interop.md). Blanks part words:",
        "  read -r -d '' -a words < <(sed 's/#.*//' megatron.args) || true",
        '  CUDA_DEVICE_MAX_CONNECTIONS=1 torchrun … pretrain.py "${words[@]}" --train-iters … --lr …',
        "The model's own sizes come from megatron_arguments(graph); steps, learning rate and seed are yours.",
    ]
    text = "".join(f"# {line}\n" for line in lines)
    for argument in execution_arguments(file.plan, graph):
        words = " ".join(argument.words)
        if argument.left_out:
            text += f"# left out: {words}: {visible(argument.why)}\n"
        else:
            text += f"{words}  # {argument.why}\n" if argument.why else f"{words}\n"
    return text


def _deepspeed_text(settings: Training, data_ranks: int, header: Iterable[str]) -> str:
    # With the whole batch beside its parts, DeepSpeed refuses to run on another number of ranks.
    whole = {"train_batch_size": settings.global_batch}
    config: dict[str, Any] = {MARK: list(header), **whole, **deepspeed_config(settings, data_ranks)}
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"
