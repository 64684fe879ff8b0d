"""Shell scripts that start a planned job. Every value is quoted: names with spaces, quotes or `$(…)` arrive as given.

Where paths lead: `training.yaml` is found beside `run.sh`, wherever that folder is moved. Slurm runs a copy of
`job.sbatch`, so there the folder stands as an absolute path. Data, weights and the like were made absolute when the
plan was emitted.
"""

import re
from collections.abc import Iterable
from shlex import quote

from attrs import frozen

PORT = 29500


@frozen
class Command:
    """`vlm-composer train`, without its settings file. data: None: the script asks the environment for it."""

    spec: str
    data: str | None
    options: tuple[tuple[str, str], ...] = ()
    """Name and value of each; the output folder is the last."""


@frozen
class Nodes:
    """Machines, and GPUs of each."""

    count: int
    gpus: int

    @classmethod
    def of(cls, gpus: int, node_gpus: int) -> "Nodes":
        """As few machines as can share the GPUs evenly."""
        count = next(count for count in range(1, gpus + 1) if gpus % count == 0 and gpus // count <= node_gpus)
        return cls(count, gpus // count)


def run_script(header: Iterable[str], command: Command, nodes: Nodes) -> str:
    """A script that is started once on every machine, and starts a rank for each GPU there with torchrun."""
    if nodes.count == 1:
        launch = ["--standalone", f"--nproc-per-node={nodes.gpus}"]
    else:
        launch = [
            f"--nnodes={nodes.count}",
            f"--nproc-per-node={nodes.gpus}",
            '"--node-rank=${NODE_RANK:?set it to 0 on the first machine, to 1 on the second, and so on}"',
            '"--master-addr=${MASTER_ADDR:?set it to the host name of the first machine}"',
            f'"--master-port=${{MASTER_PORT:-{PORT}}}"',
        ]
    return _script(
        header,
        ['folder="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"'],
        [],
        command,
        ["exec torchrun", *launch, "--no-python"],
    )


def slurm_script(header: Iterable[str], command: Command, nodes: Nodes, folder: str, name: str) -> str:
    """A batch script for Slurm: one task for each GPU."""
    directives = [
        f"#SBATCH --job-name={re.sub(r'[^A-Za-z0-9_.-]', '_', name) or 'vlm-composer'}",
        f"#SBATCH --nodes={nodes.count}",
        f"#SBATCH --ntasks-per-node={nodes.gpus}",
        f"#SBATCH --gpus-per-node={nodes.gpus}",
    ]
    return _script(header, [f"folder={quote(folder)}"], directives, command, ["exec srun"])


def _script(
    header: Iterable[str], before: list[str], directives: list[str], command: Command, launch: list[str]
) -> str:
    if command.data is None:
        data = '"${DATA:?set it to the folder with train.jsonl and its pictures, or emit the plan with --data}"'
    else:
        data = quote(command.data)
    words = ["vlm-composer train", quote(command.spec), '"$folder/training.yaml"', data]
    words += [quote(f"{option}={value}") for option, value in command.options]
    lines = [
        "#!/usr/bin/env bash",
        *directives,
        *(f"# {line}" for line in header),
        "# Values stand as they were given; nothing in them is to expand.",
        "# shellcheck disable=SC2016,SC1003",
        "set -euo pipefail",
        "",
        *before,
        "command=(",
        *(f"  {word}" for word in words),
        ")",
        " \\\n  ".join([*launch, '"${command[@]}" "$@"']),
    ]
    return "\n".join(lines) + "\n"
