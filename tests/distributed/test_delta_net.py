"""A gated delta net on several ranks is the one of a single process: values, gradients of the input and of weights."""

import pytest
import torch

from adapters.megatron import runtime
from tests.components.language.delta_nets import WIDE, copy_weights, error, gradients, ours, theirs
from tests.distributed.delta_net_worker import BATCHES, CASES, given
from tests.torchrun import torchrun

BOUND = 1e-5


@pytest.fixture(scope="module")
def alone():
    found = {}
    with runtime.layout():
        for batch in BATCHES:
            module = ours(WIDE)
            copy_weights(WIDE, theirs(WIDE), module)
            x, whole, weights = given(batch)
            x.requires_grad_()
            answer, _ = module(x, whole)
            (answer * weights).sum().backward()
            found[batch] = (answer.detach(), x.grad, gradients(WIDE, module))
    return found


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)])
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("delta")
    torchrun(request.param, "-m", "tests.distributed.delta_net_worker", folder)
    return request.param, folder


def test_ranks_together_are_one_process(folder, alone):
    ranks, where = folder
    for name in CASES[ranks]:
        for batch in BATCHES:
            answer, input_gradient, weights = alone[batch]
            reached = {
                each: torch.zeros_like(value).flatten(1) if value.ndim > 1 else torch.zeros_like(value)[:, None]
                for each, value in weights.items()
            }
            filled = {each: torch.zeros_like(value, dtype=torch.bool) for each, value in reached.items()}
            for rank in range(ranks):
                found = torch.load(where / f"{name}.{batch}.{rank}.pt", weights_only=True)
                assert error(found["answer"], answer[found["own"]]) < BOUND, (name, batch)
                assert error(found["input"], input_gradient[found["own"]]) < BOUND, (name, batch)
                for each, rows in found["weights"].items():
                    for line, column, row in rows:
                        reached[each][line, column : column + len(row)] = row
                        filled[each][line, column : column + len(row)] = True
            assert all(value.all() for value in filled.values())
            wrong = {each: error(reached[each], weights[each].reshape_as(reached[each])) for each in weights}
            assert {each: value for each, value in wrong.items() if not value < BOUND} == {}, (name, batch)
