"""Flags that stand for settings of a training run, so that one settings file serves many layouts."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from attrs import asdict, evolve, frozen
from cyclopts import Parameter

if TYPE_CHECKING:
    from adapters.training.settings import Training


def _flag(text: str) -> Parameter:
    return Parameter(group="Instead of the settings' own", help=text)


@frozen
class Flags:
    """What was given; None: as the settings say."""

    engine: Annotated[Literal["megatron", "deepspeed"] | None, _flag("What runs optimizer steps.")] = None
    precision: Annotated[Literal["fp32", "bf16"] | None, _flag("Of parameters and activations.")] = None
    transformer_impl: Annotated[
        Literal["local", "transformer_engine"] | None, _flag("Whose linears, norms and causal attention.")
    ] = None
    tp: Annotated[int | None, _flag("Tensor-parallel ranks.")] = None
    pp: Annotated[int | None, _flag("Pipeline ranks.")] = None
    virtual_stages: Annotated[int | None, _flag("Pipeline stages of each pipeline rank.")] = None
    cp: Annotated[int | None, _flag("Context-parallel ranks.")] = None
    ep: Annotated[int | None, _flag("Expert-parallel ranks.")] = None
    etp: Annotated[int | None, _flag("Ranks that each expert is split over.")] = None
    sequence_parallel: Annotated[bool | None, _flag("Split activations along the sequence.")] = None
    first_stage_layers: Annotated[int | None, _flag("Decoder layers on the first pipeline rank.")] = None
    last_stage_layers: Annotated[int | None, _flag("Decoder layers on the last pipeline rank.")] = None
    recompute: Annotated[Literal["none", "full", "selective"] | None, _flag("Activations computed again.")] = None


def overridden(settings: "Training", flags: Flags) -> "Training":
    """The settings with what was given in their place."""
    given: dict[str, Any] = {name: value for name, value in asdict(flags).items() if value is not None}
    whole = {name: given.pop(name) for name in ("engine", "precision", "transformer_impl") if name in given}
    return evolve(settings, layout=evolve(settings.layout, **given), **whole)
