"""What can go wrong in an export, done on purpose for the length of a block."""

import resource
from contextlib import contextmanager
from pathlib import Path

from torch import distributed, nn

from adapters.huggingface.rank_share import Part, RankShare


@contextmanager
def broken(fault, model, target: Path):
    rank, window, limits = distributed.get_rank(), RankShare.window, resource.getrlimit(resource.RLIMIT_FSIZE)
    if fault == "halves_swapped":
        RankShare.window = lambda self, split: window(RankShare(Part(1 - self.tensors.index, 2)), split)
    elif fault == "a_part_is_on_no_rank":
        RankShare.window = lambda _self, split: window(RankShare(Part(0, 2)), split)
    elif fault == "weights_are_there" and rank == 0:
        target.mkdir()
        (target / "model.safetensors").write_bytes(b"old")
    elif fault == "values_of_rank_1_cannot_be_read" and rank == 1:
        projection = model.language_model.decoder.layers[1].self_attention.linear_proj
        projection.weight = nn.Parameter(projection.weight.to("meta"))
    elif fault == "a_tensor_of_rank_1_has_no_name" and rank == 1:
        model.language_model.register_parameter("extra", nn.Parameter())
    elif fault == "disk_is_full" and rank == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        yield
    finally:
        RankShare.window = window
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
