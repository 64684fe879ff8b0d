"""Names of parameters in the whole model, from those that they have on a rank of some layout.

A pipeline stage counts its layers from 0, an expert-parallel rank its experts; Megatron-Core's grouped kernels keep all
experts in one module, and the last stage has a copy of a tied embedding table under another name.
"""

import re

from torch import nn

from adapters.huggingface.rank_share import RankShare, share_of
from adapters.huggingface.weight_table import GROUPED
from adapters.megatron.module import ComposedModel

_LAYER = re.compile(r"decoder\.layers\.(\d+)\.")
_EXPERT = re.compile(r"\.experts\.local_experts\.(\d+)\.")
_TIED_COPY, _TABLE = "output_layer.weight", "embedding.word_embeddings.weight"


def canonical_names(model: ComposedModel) -> dict[str, nn.Parameter]:
    """A stage's parameters by their names in the whole model, in the order of `named_parameters`.

    The names are those of `composer.plans.inventory`: layers counted over all stages, experts over all ranks and one by
    one. The last stage's copy of a tied table has the table's name.

    Args:
        model: one (virtual) pipeline stage of one rank, on any device, `meta` too; not wrapped for data parallelism.
    """
    share, decoder = share_of(model), f"{model.program.decoder}."
    experts = (model.config.num_moe_experts or 0) // share.experts.parts * share.experts.index
    found: dict[str, nn.Parameter] = {}
    for name, parameter in model.named_parameters():
        whole = name
        if name.startswith(decoder):
            whole = decoder + _in_decoder(name.removeprefix(decoder), share, experts, tied=model.program.tied)
        assert whole not in found, f"two parameters of one rank are {whole}"
        found[whole] = parameter
    return found


def _in_decoder(name: str, share: RankShare, first_expert: int, *, tied: bool) -> str:
    if tied and name == _TIED_COPY:
        return _TABLE
    if share.layers is not None:
        layers = share.layers
        name = _LAYER.sub(lambda found: f"decoder.layers.{layers[int(found[1])]}.", name)
    return _EXPERT.sub(lambda found: f".experts.local_experts.{int(found[1]) + first_expert}.", _one_by_one(name))


def _one_by_one(name: str) -> str:
    """A name of Megatron-Core's grouped experts as that of one expert's own module."""
    for each, together in GROUPED.items():
        stem = together.removesuffix("{e}")
        end = name.rpartition(stem)[2]
        if stem in name and end.isdecimal():
            return name.removesuffix(stem + end) + each.format(e=end)
    return name
