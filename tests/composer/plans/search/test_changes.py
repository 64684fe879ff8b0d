"""What would make a job fit."""

from attrs import evolve

from composer.plans.answer import Estimate
from composer.plans.execution import Execution
from composer.plans.hardware import Hardware
from composer.plans.job import Job
from composer.plans.search.changes import changes
from tests.composer.plans.search.decoders import eight_gpus
from tests.composer.plans.search.made_up import MadeUp

JOB = Job(gpus=8, seq=4096, global_batch=16, images=2, image_tokens=256)


def some() -> Estimate:
    judge, execution = MadeUp(1, 2000), Execution(8)
    return judge.estimate(execution, judge.memory(execution))


def needing(gib: float, frozen_saves: float = 0.0):
    """A job that needs so much on 8 GPUs, in proportion to its sequence and in inverse proportion to its GPUs."""

    def attempt(job: Job, hardware: Hardware, nodes: tuple[str, ...]) -> Estimate | None:
        size = gib * (1 - frozen_saves * bool(nodes)) * JOB.gpus / job.gpus * job.seq / JOB.seq
        return some() if size <= hardware.memory_gib else None

    return attempt


def larger(gib: float) -> Hardware:
    return evolve(eight_gpus(), name=f"with {gib:.0f}", memory_gib=gib)


def test_smallest_change_first() -> None:
    found = changes(JOB, eight_gpus(), (larger(200), larger(141), larger(40)), {"tower": 1.05}, needing(100))
    assert [change.text for change in found] == [
        "sequences of 3072 tokens instead of 4096",
        "with 141 (141 GiB) instead of test (80 GiB)",
        "16 GPUs instead of 8",
    ]
    assert [change.factor for change in found] == sorted(change.factor for change in found)


def test_freezing_little_is_the_smallest_change_if_it_is_enough() -> None:
    found = changes(JOB, eight_gpus(), (), {"decoder": 50.0, "tower": 1.05}, needing(81, frozen_saves=0.1))
    assert found[0].text == "tower frozen"


def test_sequences_keep_room_for_their_images() -> None:
    job = evolve(JOB, images=15)
    found = changes(job, eight_gpus(), (), {}, needing(100))
    assert not any("sequences" in change.text for change in found)


def test_nothing_helps() -> None:
    assert changes(JOB, eight_gpus(), (), {"tower": 1.05}, needing(10**6)) == []
