"""A small data folder of real pictures, and the quickstart's model on it."""

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from torch import nn

from adapters.quickstart.data import DataSizes, write_data
from adapters.quickstart.model import VOCAB_SIZE, load_graph, training_settings
from adapters.training.collator import Collator
from adapters.training.samples import JsonlSamples
from adapters.training.settings import Stage, Training
from adapters.training.setup import make_collator
from composer import Graph

if TYPE_CHECKING:
    from adapters.megatron.engine import MegatronEngine

SPEC = Path(__file__).parents[3] / "specs" / "gemma4_vl.yaml"


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("numbers")
    write_data(folder, DataSizes(training=24, heldout=4), VOCAB_SIZE, seed=0)
    return folder


@pytest.fixture(scope="session")
def graph() -> Graph:
    return load_graph(SPEC)


@pytest.fixture
def settings() -> Training:
    """Two stages of a few steps."""
    stages = (
        Stage("align", steps=2, trains=("embed_vision",)),
        Stage("all", steps=3, trains=("vision_tower", "embed_vision", "language_model")),
    )
    return attrs.evolve(training_settings(seed=0), stages=stages, micro_batch=4, global_batch=8)


@pytest.fixture
def collator(graph: Graph, settings: Training, data_dir: Path) -> Collator:
    return make_collator(graph, settings, data_dir)


@pytest.fixture
def samples(data_dir: Path) -> JsonlSamples:
    return JsonlSamples(data_dir / "train.jsonl")


@pytest.fixture
def engine(graph: Graph, settings: Training) -> "MegatronEngine":
    from adapters.megatron.engine import MegatronEngine
    from adapters.megatron.start import build_stages

    return MegatronEngine(build_stages(graph, settings), settings)


@pytest.fixture
def model(engine: "MegatronEngine") -> nn.Module:
    return engine.model
