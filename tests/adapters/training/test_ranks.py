"""Which rank this is, by what each launcher leaves in the environment, and which numbers of ranks fit."""

import os
import subprocess
import sys

import attrs
import pytest

from adapters.megatron import runtime
from adapters.training.problems import TrainingError
from adapters.training.ranks import LaunchError, Ranks, check_processes, find_ranks
from adapters.training.settings import Stage, Training
from composer.plans.layout import Layout

PLACE = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", **PLACE}
SRUN = {
    "SLURM_STEP_ID": "0",
    "SLURM_JOB_ID": "123456",
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_JOB_NODELIST": "node[007-008,11],other3",
}


def test_torchrun_and_deepspeed() -> None:
    assert find_ranks(dict(TORCHRUN)) == Ranks(3, 1, 4, 2)
    assert find_ranks(TORCHRUN | {"TORCHELASTIC_RESTART_COUNT": "2"}) == Ranks(3, 1, 4, 2, attempt=2)
    deepspeed = {name: value for name, value in TORCHRUN.items() if name != "LOCAL_WORLD_SIZE"} | {"LOCAL_SIZE": "2"}
    assert find_ranks(deepspeed) == Ranks(3, 1, 4, 2)


def test_srun_is_written_down_as_torch_reads_it() -> None:
    environment = dict(SRUN)
    assert find_ranks(environment) == Ranks(5, 1, 8)
    assert {name: environment[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")} == {
        "RANK": "5",
        "WORLD_SIZE": "8",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "node007",
        "MASTER_PORT": "23456",
    }
    given = SRUN | {"MASTER_ADDR": "here", "MASTER_PORT": "1", "SLURM_STEP_NUM_TASKS": "6"}
    assert find_ranks(given) == Ranks(5, 1, 6)
    assert (given["MASTER_ADDR"], given["MASTER_PORT"]) == ("here", "1")


@pytest.mark.parametrize(
    ("hosts", "first"), [("a", "a"), ("a,b", "a"), ("rack[2-3]n[04,5]-x,b", "rack2n04-x"), ("n-1.site", "n-1.site")]
)
def test_the_first_host_of_a_list(hosts: str, first: str) -> None:
    environment = SRUN | {"SLURM_JOB_NODELIST": hosts}
    find_ranks(environment)
    assert environment["MASTER_ADDR"] == first


def test_no_launcher() -> None:
    assert find_ranks({}) is None
    batch_script = {name: value for name, value in SRUN.items() if name != "SLURM_STEP_ID"}
    assert find_ranks(batch_script) is None
    assert find_ranks({"RANK": "0", "WORLD_SIZE": "2"}) is None  # of nodes, as some clusters say before torchrun


def test_one_rank_without_an_address_is_one_process_alone() -> None:
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    assert find_ranks(dict(alone)) is None
    assert find_ranks(alone | PLACE) == Ranks(0, 0, 1)
    environment = {name: value for name, value in os.environ.items() if name not in PLACE} | alone
    program = "from adapters.megatron import runtime; runtime.init(); runtime.destroy()"
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)


@pytest.mark.parametrize(("local_rank", "visible", "device"), [("3", 8, 3), ("3", 1, 0), (None, 8, 0)])
def test_a_rank_takes_its_own_device_of_those_it_sees(
    local_rank: str | None, visible: int, device: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local_rank is not None:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    assert runtime._device(visible) == device


def test_what_is_missing_is_named() -> None:
    with pytest.raises(LaunchError, match="MASTER_ADDR"):
        find_ranks({name: value for name, value in TORCHRUN.items() if name != "MASTER_ADDR"})
    with pytest.raises(LaunchError, match="set MASTER_ADDR"):
        find_ranks({name: value for name, value in SRUN.items() if name != "SLURM_JOB_NODELIST"})


def settings(global_batch: int = 8, **layout: int) -> Training:
    return Training(stages=(Stage("a", 1, ("x",)),), global_batch=global_batch, layout=Layout(**layout))


@pytest.mark.parametrize(
    ("processes", "given", "told"),
    [
        (3, settings(tp=2), "tp 2 × pp 1 × cp 1 = 2 does not divide the number of processes, 3. Start 2 or 4"),
        (2, settings(tp=2, pp=2), "tp 2 × pp 2 × cp 1 = 4 does not divide the number of processes, 2. Start 4"),
        (6, settings(tp=2, ep=4), "ep 4 × etp 1 × pp 1 = 4 does not divide the number of processes, 6. Start 4 or 8"),
        (3, settings(), "8 is no multiple of 3 (micro_batch 1 × 3 data ranks). Set it to 6 or 9."),
        (2, settings(3, pp=2, virtual_stages=2), "3 is no multiple of 2 (micro_batch 1 × 1 data ranks × pp 2"),
        (0, settings(), "start 1 or more"),
    ],
)
def test_numbers_that_do_not_fit(processes: int, given: Training, told: str) -> None:
    with pytest.raises(TrainingError) as refused:
        check_processes(given, processes)
    assert told in str(refused.value)


def test_numbers_that_fit() -> None:
    for processes, given in (
        (1, settings()),
        (8, settings(tp=2, pp=2)),
        (8, settings(tp=2, ep=4)),
        (2, settings(cp=2)),
    ):
        check_processes(given, processes)
    check_processes(attrs.evolve(settings(), micro_batch=4), 2)
