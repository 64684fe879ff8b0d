"""What a component is built with: the Megatron configuration and its place in the pipeline."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import frozen

from composer.masks import Rule

if TYPE_CHECKING:
    from megatron.core.process_groups_config import ProcessGroupCollection
    from megatron.core.transformer.transformer_config import TransformerConfig
    from torch import nn

    from components.fusion.mask_metadata import MetadataLayout


@frozen
class CoreAttention:
    """What one layer kind needs of its core attention; head counts are global."""

    rule: Rule
    heads: int
    kv_heads: int
    head_dim: int
    """Of queries and keys."""
    value_dim: int
    scale: float
    softcap: float | None = None


CoreAttentionFactory = Callable[[CoreAttention, "nn.Module"], "nn.Module"]
"""From what is needed, and a module that gives it by a dense mask, to that module or one that gives the same faster.

Both are called with queries [S, B, N, D], keys [S, B, G, D], values [S, B, G, V] and mask metadata [B, F, S]; they
return [S, B, N * V], and agree at real tokens. Under context parallelism the given module is used as it is: it also
takes queries that are fewer than keys, and which key the first of them belongs to.
"""


@frozen(eq=False)
class BuildContext:
    """Everything `build(config, context)` of a component may ask for beside its own section of the spec.

    Towers and projectors read `transformer.params_dtype`; the decoder reads all of it.
    """

    transformer: "TransformerConfig"
    groups: "ProcessGroupCollection"
    rules: dict[str, Rule]
    """Mask rule of each layer kind of the decoder."""
    layout: "MetadataLayout"
    """What the mask metadata holds."""
    injected: tuple[int, ...] = ()
    """The decoder layers after which a level of features is added, ascending."""
    tied: bool = False
    """Whether the output layer shares the embedding table."""
    pre_process: bool = True
    post_process: bool = True
    vp_stage: int | None = None
    core_attention: CoreAttentionFactory | None = None
    """Kernels for some mask rules; None: every layer kind lowers its rule to a dense mask."""
