"""What a training run takes besides the model and the data: a small file of its own, checked like a spec."""

from typing import Literal

from attrs import field, frozen

from adapters.training.checkpoint_settings import Checkpoints
from composer.plans.layout import Layout, Zero


def _doc(text: str) -> dict[str, str]:
    return {"description": text}


@frozen
class Stage:
    """A stretch of training in which the same parameters train."""

    name: str = field(metadata=_doc("Name shown in logs."))
    steps: int = field(metadata=_doc("Optimizer steps."))
    trains: tuple[str, ...] = field(
        default=(),
        metadata=_doc(
            "Nodes of the graph that train, or selectors; the rest is frozen. Left out where a freeze plan says it."
        ),
    )
    lr: float | None = field(default=None, metadata=_doc("Peak learning rate; null: that of `optimizer`."))
    warmup_steps: int | None = field(default=None, metadata=_doc("Linear warm-up; null: that of `optimizer`."))


@frozen
class OptimizerSettings:
    """AdamW with linear warm-up and cosine decay, anew in each stage."""

    lr: float = field(default=1e-4, metadata=_doc("Peak learning rate."))
    min_lr: float = field(default=0.0, metadata=_doc("Learning rate at the end of the cosine."))
    warmup_steps: int = field(default=0, metadata=_doc("Steps of linear warm-up from zero."))
    weight_decay: float = field(default=0.01, metadata=_doc("Decoupled weight decay of matrices; vectors get none."))
    beta1: float = field(default=0.9, metadata=_doc("Decay of the first moment."))
    beta2: float = field(default=0.95, metadata=_doc("Decay of the second moment."))
    eps: float = field(default=1e-8, metadata=_doc("Added to the root of the second moment."))
    clip: float = field(default=1.0, metadata=_doc("Largest global norm of the gradient; 0: no clipping."))
    lr_multipliers: dict[str, float] = field(
        factory=dict, metadata=_doc("Factor on the learning rate of single nodes, by name; 0: no change at all.")
    )


@frozen
class PictureSettings:
    """How pictures become what the tower reads: patches, or whole pictures of one size."""

    max_features: int = field(
        default=280, metadata=_doc("Of patches: most feature rows, and so placeholder tokens, of a picture.")
    )
    resize: Literal["fill", "shrink"] = field(
        default="fill",
        metadata=_doc(
            "Of patches. fill: scale up or down to use `max_features`. shrink: scale down only; else keep the size."
        ),
    )
    fit: Literal["stretch", "pad"] = field(
        default="stretch",
        metadata=_doc("Of whole pictures. stretch: to the tower's size. pad: as large as fits, `mean` around it."),
    )
    mean: tuple[float, ...] = field(
        default=(0.5, 0.5, 0.5), metadata=_doc("Of whole pictures: what is taken from red, green and blue in 0 to 1.")
    )
    std: tuple[float, ...] = field(
        default=(0.5, 0.5, 0.5), metadata=_doc("Of whole pictures: what they are divided by then.")
    )


@frozen
class ChatTemplate:
    """The text around pictures and turns. Special tokens are written as in the tokenizer."""

    begin: str = field(default="<bos>", metadata=_doc("Before the first turn."))
    system: str = field(default="{text}\n", metadata=_doc("A system turn; `{text}` is its text."))
    user: str = field(default="{text}\n", metadata=_doc("A user's turn; `{text}` is its text."))
    assistant: str = field(default="", metadata=_doc("What introduces an answer; not learned."))
    end: str = field(
        default="<eos>", metadata=_doc("Ends an answer; learned, and generation stops at its first token.")
    )
    image: str = field(
        default="{placeholders}",
        metadata=_doc("A picture; `{placeholders}` is as many placeholder tokens as features."),
    )


@frozen
class Training:
    """A training run."""

    stages: tuple[Stage, ...] = field(metadata=_doc("Stages, first to last."))
    freeze_plan: str | None = field(
        default=None,
        metadata=_doc(
            "File that `vlm-composer plan freeze` wrote, relative to this one: what trains in stages of the same names."
        ),
    )
    micro_batch: int = field(default=1, metadata=_doc("Samples of one forward pass."))
    global_batch: int = field(default=8, metadata=_doc("Samples of one optimizer step; a multiple of `micro_batch`."))
    max_length: int = field(default=4096, metadata=_doc("Longest sequence in tokens; longer text is cut at the end."))
    group_by_length: bool = field(
        default=False,
        metadata=_doc("Samples of about the same length share a batch: less padding."),
    )
    seed: int = field(default=0, metadata=_doc("Seed of fresh parameters and of the order of samples."))
    print_every: int = field(
        default=1,
        metadata=_doc("Steps between printed lines where the output is no terminal; the log has every step."),
    )
    engine: Literal["megatron", "deepspeed"] = field(default="megatron", metadata=_doc("What runs optimizer steps."))
    precision: Literal["fp32", "bf16"] = field(
        default="fp32",
        metadata=_doc("Of parameters and activations; with bf16 the optimizer keeps fp32 parameters and gradients."),
    )
    transformer_impl: Literal["local", "transformer_engine"] = field(
        default="local",
        metadata=_doc(
            "Linears, norms, experts and causal attention of torch, or of Transformer Engine (GPU, extra `te`)."
        ),
    )
    layout: Layout = field(factory=Layout, metadata=_doc("Model parallelism."))
    distributed_optimizer: bool = field(
        default=False, metadata=_doc("Share optimizer state out over data-parallel ranks.")
    )
    overlap: bool = field(
        default=False, metadata=_doc("Reduce gradients (and gather parameters) while the model computes.")
    )
    zero: Zero = field(factory=Zero, metadata=_doc("ZeRO; for `engine: deepspeed`."))
    checkpoints: Checkpoints = field(factory=Checkpoints, metadata=_doc("What is saved to resume from."))
    optimizer: OptimizerSettings = field(factory=OptimizerSettings, metadata=_doc("Optimizer and schedule."))
    pictures: PictureSettings = field(factory=PictureSettings, metadata=_doc("Pictures."))
    chat: ChatTemplate = field(factory=ChatTemplate, metadata=_doc("Text around turns and pictures."))
