"""Training a composed model on a folder of pictures and conversations."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adapters.training.job import TrainingResult, run
    from adapters.training.settings import Training

__all__ = ["Training", "TrainingResult", "run"]


def __getattr__(name: str) -> Any:
    """Import torch only when a run is asked for: settings alone load without it."""
    if name == "Training":
        from adapters.training.settings import Training

        return Training
    if name in __all__:
        from adapters.training import job as module

        return getattr(module, name)
    raise AttributeError(name)
