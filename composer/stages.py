"""Stages of training as a spec says them: what trains in each, in selectors (`composer.plans.selectors`)."""

from attrs import field, frozen


def _doc(text: str) -> dict[str, str]:
    return {"description": text}


@frozen
class FreezeStage:
    """A stretch of training in which the same parameters train; all others are frozen."""

    trains: tuple[str, ...] = field(metadata=_doc("Selectors of what trains, together."))
    freezes: tuple[str, ...] = field(default=(), metadata=_doc("Selectors of exceptions: what of it is frozen."))
    lr_multipliers: dict[str, float] = field(
        factory=dict, metadata=_doc("Factors on the learning rate, by selector; 0: no change at all.")
    )
    weight_decay_multipliers: dict[str, float] = field(
        factory=dict, metadata=_doc("Factors on the weight decay, by selector; vectors have none.")
    )
