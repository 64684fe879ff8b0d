"""The losses that Megatron-LM writes for TensorBoard."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def losses(folder: Path) -> list[float]:
    """Of every step; float32 as they were computed."""
    events = EventAccumulator(str(folder)).Reload()
    return [event.value for event in events.Scalars("lm loss")]
