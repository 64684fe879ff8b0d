"""Tiny checkpoints, written once."""

from collections.abc import Callable

import pytest

from tests.adapters.huggingface.tiny_checkpoints import EXPERTS, Checkpoint, make


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Checkpoint]:
    return lambda **settings: make(tmp_path_factory.mktemp("checkpoint"), **settings)


@pytest.fixture(scope="session")
def experts(make_checkpoint) -> Checkpoint:
    return make_checkpoint(**EXPERTS)


@pytest.fixture(scope="session")
def dense(make_checkpoint) -> Checkpoint:
    return make_checkpoint()


@pytest.fixture(params=["experts", "dense"])
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    return request.getfixturevalue(request.param)
