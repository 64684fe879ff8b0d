"""Which rank this process is, from what torchrun, deepspeed or srun left in its environment; no torch needed."""

import math
import os
import re
from collections.abc import Mapping, MutableMapping

from attrs import frozen

from adapters.training.problems import TrainingError
from adapters.training.settings import Training

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
    """This process's place in a job that a launcher started; None if none did, or for one rank that has no address.

    What srun says is written down again as torchrun says it, because torch reads that.

    Raises:
        LaunchError: part of what is needed is missing, and which.
    """
    if all(name in environment for name in SLURM) and not any(name in environment for name in TORCHRUN):
        _adopt_slurm(environment)
    if not all(name in environment for name in TORCHRUN):
        return None
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in environment]
    if missing and environment["WORLD_SIZE"] == "1":
        return None
    if missing:
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
    environment.update(
        {
            "RANK": environment["SLURM_PROCID"],
            "WORLD_SIZE": tasks,
            "LOCAL_RANK": environment["SLURM_LOCALID"],
            "MASTER_ADDR": environment.get("MASTER_ADDR") or _first_host(environment),
            # Two jobs on one host get different ports, all tasks of one job the same.
            "MASTER_PORT": environment.get(
                "MASTER_PORT", str(20000 + int(environment.get("SLURM_JOB_ID", "0")) % 10000)
            ),
        }
    )


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


def check_processes(settings: Training, processes: int) -> None:
    """Whether the layout and the batches fit the number of processes; what would fit is said too.

    Raises:
        TrainingError: with all problems at once.
    """
    layout = settings.layout
    if processes < 1:
        raise LaunchError(f"{processes} processes cannot train: start 1 or more.")
    model, experts = layout.model_ranks, layout.ep * layout.etp * layout.pp
    products = []
    if processes % model:
        products.append(f"tp {layout.tp} × pp {layout.pp} × cp {layout.cp} = {model}")
    if processes % experts and experts > layout.pp:
        products.append(f"ep {layout.ep} × etp {layout.etp} × pp {layout.pp} = {experts}")
    if products:
        raise LaunchError(
            f"layout: {' and '.join(products)} {'does' if len(products) == 1 else 'do'} not divide the number of "
            f"processes, {processes}. Start {_multiples(math.lcm(model, experts), processes)} (--nproc)."
        )
    shares = processes // model
    unit = settings.micro_batch * shares
    if layout.virtual_stages > 1:
        unit *= layout.pp  # Megatron-Core's interleaved schedule wants as many micro-batches, or a multiple
    if settings.global_batch % unit:
        reason = f"micro_batch {settings.micro_batch} × {shares} data ranks"
        if layout.virtual_stages > 1:
            reason += f" × pp {layout.pp}, because of the virtual stages"
        raise LaunchError(
            f"global_batch: {settings.global_batch} is no multiple of {unit} ({reason}). Set it to "
            f"{_multiples(unit, settings.global_batch)}."
        )


def _multiples(unit: int, near: int) -> str:
    """The multiples next to what was asked for."""
    below = near // unit * unit
    return " or ".join(str(count) for count in (below, below + unit) if count)
