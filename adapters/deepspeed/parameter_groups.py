"""What DeepSpeed's optimizer is over: trained parameters by weight decay and by learning rate."""

from typing import Any

from torch import nn

from adapters.training.settings import OptimizerSettings
from adapters.training.stages import Rates, RatesOf
from composer import Graph

FACTOR = "lr_factor"


def parameter_groups(
    model: nn.Module, graph: Graph, settings: OptimizerSettings, rates: RatesOf | None = None
) -> list[dict[str, Any]]:
    """Groups for a torch optimizer, of parameters that require gradients; each parameter is in one.

    A group's `lr_factor` multiplies the learning rate of a step. Weight decay is for matrices and tables; vectors and
    scalars get none. A parameter that nodes share belongs to the first of them. `rates` are factors of single
    parameters, beside those of nodes in the settings.
    """
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    seen: set[int] = set()
    for name in graph.nodes:
        factor = settings.lr_multipliers.get(name, 1.0)
        for parameter in model.get_submodule(name).parameters():
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                own = (rates or {}).get(parameter, Rates())
                decay = own.weight_decay if parameter.ndim > 1 else 0.0
                found.setdefault((factor * own.lr, decay), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": settings.weight_decay * decay, FACTOR: factor}
        for (factor, decay), parameters in found.items()
    ]


def set_learning_rate(groups: list[dict[str, Any]], lr: float) -> None:
    """The rate of the next step, times each group's factor."""
    for group in groups:
        group["lr"] = lr * group[FACTOR]
