"""Why what somebody would have tried first was not chosen."""

from collections import Counter

from composer.plans.search.reasons import binding, obvious_layouts, reasons
from composer.plans.search.search import search
from composer.plans.search.space import Space
from tests.composer.plans.search.made_up import MadeUp


def told(judge: MadeUp, space: Space) -> dict[str, str]:
    frames = judge.frames(space, Counter())
    best = search(judge, frames).best[0]
    return {each.name: each.text for each in reasons(judge, frames, best, obvious_layouts(8, 8, 4))}


def test_what_does_not_fit_says_by_how_much() -> None:
    judge = MadeUp(seed=5, limit=1002)
    texts = told(judge, Space())
    assert any(text.startswith("does not fit: at least") for text in texts.values())


def test_what_is_slower_says_by_how_much() -> None:
    texts = told(MadeUp(seed=5, limit=2000), Space())
    assert "× the time: " in texts["data parallelism alone"]
    assert "× the time: " in texts["DeepSpeed ZeRO-3"]


def test_what_cannot_run_says_why() -> None:
    texts = told(MadeUp(seed=5, limit=2000), Space())
    assert texts["tensor parallelism over a node (tp8)"] == "cannot run: 2 key/value heads"
    assert texts["experts over a node (ep8)"].startswith("cannot run: ")


def test_bounds_that_were_given_are_named() -> None:
    texts = told(MadeUp(seed=5, limit=2000), Space(pp=(1,), engines=("megatron",)))
    assert texts["a pipeline of two ranks (pp2)"] == "outside the bounds that were given"
    assert texts["DeepSpeed ZeRO-3"] == "outside the bounds that were given"


def test_what_was_chosen_is_not_explained_away() -> None:
    texts = told(MadeUp(seed=5, limit=2000), Space(tp=(1,), pp=(1,), cp=(1,), ep=(1,), engines=("megatron",)))
    assert "data parallelism alone" not in texts


def test_memory_binds_where_something_faster_needs_more() -> None:
    judge = MadeUp(seed=3, limit=1005)
    found = search(judge, judge.frames(Space(), Counter()))
    assert binding(found.best[0], found.near, judge.limit).startswith("memory: ")
    assert binding(found.best[0], None, judge.limit).startswith("time of all: 100% of the step")
