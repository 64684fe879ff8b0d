"""What a component is built with: the Megatron configuration and its place in the pipeline."""

from typing import TYPE_CHECKING

from attrs import frozen

from composer.masks import Rule

if TYPE_CHECKING:
    from megatron.core.process_groups_config import ProcessGroupCollection
    from megatron.core.transformer.transformer_config import TransformerConfig

    from components.fusion.mask_metadata import MetadataLayout


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
    tied: bool = False
    """Whether the output layer shares the embedding table."""
    pre_process: bool = True
    post_process: bool = True
    vp_stage: int | None = None
