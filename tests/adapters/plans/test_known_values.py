"""Values beside meta tensors: they follow from what was given, and nothing is made up where they do not."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from adapters.plans.known_values import KnownValues, Lists, UnknownValueError


class Running(TorchDispatchMode):
    def __init__(self, known):
        super().__init__()
        self.known = known

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return self.known.run(func, args, kwargs or {})


@pytest.fixture
def known():
    return KnownValues()


@pytest.fixture
def running(known):
    with Running(known):
        yield known


def test_shapes_that_depend_on_given_integers(known):
    places = known.give(torch.tensor([[3, 1], [-1, -1], [0, 2], [-1, -1], [4, 4]]))
    pixels = torch.empty(5, 7, device="meta")
    with Running(known):
        padding = (places == -1).all(-1)
        assert pixels[~padding].shape == (3, 7)
        assert padding.nonzero().flatten().shape == (2,)
        assert int(places.max()) == 4
        assert not padding.all()
        assert torch.arange(places[0, 0].item(), device="meta").shape == (3,)


def test_lists_made_of_tensors_and_tensors_made_of_lists(known):
    grids = known.give(torch.tensor([[1, 4, 6], [2, 2, 4]]))
    with Lists(known), Running(known):
        sides = torch.tensor([2], device=grids.device).expand(len(grids))
        assert (grids.tolist(), sides.tolist()) == ([[1, 4, 6], [2, 2, 4]], [2, 2])
        ends = torch.tensor([0, 24, 24, 40], device="meta", dtype=torch.int32)
        assert torch.unique_consecutive(ends).tolist() == [0, 24, 40]
        assert torch.repeat_interleave(grids[:, 1], grids[:, 0]).tolist() == [4, 2, 2]


def test_pixels_have_no_values(running):
    pixels = torch.empty(5, 7, device="meta")
    with pytest.raises(UnknownValueError, match=r"^aten\._local_scalar_dense asks for values that depend on pixels"):
        bool((pixels > 0).all())
    with pytest.raises(UnknownValueError, match=r"^aten\.index asks"):
        pixels[pixels[:, 0] > 0]


def test_what_pixels_are_written_into_is_no_longer_known(running):
    counts = torch.zeros(4, device="meta")
    assert counts.sum().item() == 0
    counts += torch.empty(4, device="meta")
    with pytest.raises(UnknownValueError):
        counts.sum().item()


def test_writing_known_values_in_place(running):
    counts = torch.zeros(4, dtype=torch.int64, device="meta")
    counts[1:3] += 2
    assert counts.sum().item() == 4


def test_tensors_of_the_cpu_have_their_own_values(running):
    table = torch.tensor([5, 6, 7])
    places = torch.arange(3, device="meta")
    assert places.device.type == "meta"
    assert int((places + table)[2]) == 9
