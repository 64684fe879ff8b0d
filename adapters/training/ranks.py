"""Which rank this process is, from what torchrun, deepspeed or srun left in its environment; no torch needed."""

import math
import os
import re
from collections.abc import Mapping, MutableMapping

from attrs import frozen

from adapters.training.problems import TrainingError

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
SLURM = ("SLURM_STEP_ID", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")  # a batch script has no SLURM_STEP_ID


class LaunchError(TrainingError):
    """The job cannot be started this way; says what would work."""


@frozen
class Ranks:
    """This process among all. attempt counts torchrun's restarts from 0; local_size is None where not told."""

    rank: int
    local_rank: int
    size: int
    local_size: int | None = None
    attempt: int = 0


def find_ranks(environment: MutableMapping[str, str] = os.environ) -> Ranks | None:
    """This process's place in a job that a launcher started; None if none did.

    What srun says is written down again as torchrun says it, because torch reads that.

    Raises:
        LaunchError: part of what is needed is missing, and which.
    """
    if all(name in environment for name in SLURM) and not any(name in environment for name in TORCHRUN):
        _adopt_slurm(environment)
    if not all(name in environment for name in TORCHRUN):
        return None
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in environment]
    if missing and environment["WORLD_SIZE"] != "1":
        raise LaunchError(
            f"{' and '.join(missing)} must be in the environment: the host of rank 0, and a free port there."
        )
    local_size = environment.get("LOCAL_WORLD_SIZE", environment.get("LOCAL_SIZE"))  # torchrun's name; deepspeed's
    return Ranks(
        rank=int(environment["RANK"]),
        local_rank=int(environment["LOCAL_RANK"]),
        size=int(environment["WORLD_SIZE"]),
        local_size=None if local_size is None else int(local_size),
        attempt=int(environment.get("TORCHELASTIC_RESTART_COUNT", "0")),
    )


def _adopt_slurm(environment: MutableMapping[str, str]) -> None:
    tasks = environment.get("SLURM_STEP_NUM_TASKS", environment["SLURM_NTASKS"])
    environment |= {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": tasks,
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "MASTER_ADDR": environment.get("MASTER_ADDR") or _first_host(environment),
        # Two jobs on one host get different ports, all tasks of one job the same.
        "MASTER_PORT": environment.get("MASTER_PORT", str(20000 + int(environment.get("SLURM_JOB_ID", "0")) % 10000)),
    }


def _first_host(environment: Mapping[str, str]) -> str:
    """Where rank 0 runs: the first of `node[003-004,7],other`.

    Raises:
        LaunchError: srun did not say.
    """
    hosts = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", hosts)
    if first is None:
        raise LaunchError("srun names no hosts (SLURM_JOB_NODELIST): set MASTER_ADDR to the host of rank 0.")
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first[0])


def check_sizes(ranks: int, *, tp: int = 1, pp: int = 1, cp: int = 1, ep: int = 1, etp: int = 1) -> None:
    """Whether so many ranks can be split into groups of these sizes.

    Raises:
        LaunchError: they cannot; says what would fit.
    """
    sizes = {"nproc": ranks, "tp": tp, "pp": pp, "cp": cp, "ep": ep, "etp": etp}
    if wrong := [f"{name} {size}" for name, size in sizes.items() if size < 1]:
        raise LaunchError(f"sizes start at 1, not {', '.join(wrong)}.")
    model, experts = tp * pp * cp, etp * ep * pp
    needed = math.lcm(model, experts)
    problems = []
    if ranks % model:
        problems.append(f"tp {tp} × pp {pp} × cp {cp} = {model}")
    if ranks % experts and ep * etp > 1:
        problems.append(f"ep {ep} × etp {etp} × pp {pp} = {experts}")
    if problems:
        raise LaunchError(
            f"{ranks} ranks are no multiple of {' nor of '.join(problems)}. Start {_multiples(needed, ranks)} ranks, or "
            f"choose sizes whose products divide {ranks}."
        )


def _multiples(needed: int, near: int) -> str:
    """The multiples next to what was asked for."""
    below = near // needed * needed
    return " or ".join(str(count) for count in (below, below + needed) if count)
