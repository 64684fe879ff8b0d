"""The state of Megatron-Core's optimizers in a checkpoint: what every parameter has, by the parameter's name.

Moments and fp32 copies are saved in the shape of their parameter, so that any layout can read them; and how many steps
were made. Learning rates, decay and groups are not: they come from the settings of the run that loads.
"""

from collections.abc import Iterator
from typing import Any

import torch
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
from torch import distributed

COPIES = "fp32_from_fp16_params"


def kind_of(optimizer: Any) -> str:
    """Which tensors an optimizer has for each parameter: kinds cannot read each other's. The same on every rank."""
    first = getattr(optimizer, "chained_optimizers", [optimizer])[0]
    if isinstance(first, DistributedOptimizer):
        return "distributed"
    return "with fp32 copies" if first.config.bf16 or first.config.fp16 else "plain"


def parts_of(optimizer: Any) -> Iterator[Any]:
    """Megatron-Core's optimizers (of experts, of the rest) that have something to train on this rank."""
    for part in getattr(optimizer, "chained_optimizers", [optimizer]):
        if not part.is_stub_optimizer:
            yield part


def sharded_tensors(optimizer: Any, model: dict[str, Any], *, loading: bool) -> list[dict[str, Any]]:
    """For each part its tensors, described for `dist_checkpointing`; every rank calls it.

    Args:
        optimizer: from `get_megatron_optimizer`.
        model: sharded state dicts of this rank's stages, by anything.
        loading: values do not matter yet.
    """
    return [_tensors(part, model, loading) for part in parts_of(optimizer)]


def load_tensors(optimizer: Any, loaded: list[dict[str, Any]], steps: int) -> None:
    """Put loaded tensors, in the structure of `sharded_tensors`, and the number of steps into an optimizer."""
    for part, tensors in zip(parts_of(optimizer), loaded, strict=True):
        if isinstance(part, DistributedOptimizer):
            # Torch's AdamW counts steps in a tensor for each parameter, and Megatron-Core would look for each of those
            # among what was loaded. A number it passes over.
            for state in part.optimizer.state.values():
                if "step" in state:
                    state["step"] = 0
            part.load_parameter_state_from_fully_reshardable(tensors["state"])
        else:
            own = part.state_dict()
            inner = own.get("optimizer", own)
            inner["state"] = {index: state | tensors["state"][index] for index, state in inner["state"].items()}
            if COPIES in own:
                own[COPIES] = [
                    [tensors[COPIES][f"{i}.{j}"] for j in range(len(group))] for i, group in enumerate(own[COPIES])
                ]
            part.load_state_dict(own)
        _set_steps(part.optimizer, steps)


def steps_done(optimizer: Any) -> int:
    """How many steps were made; the same on every rank, also where there is nothing to train."""
    done = 0
    for part in parts_of(optimizer):
        counters = [*part.optimizer.state.values(), *part.optimizer.param_groups]
        done = next((int(counter["step"]) for counter in counters if "step" in counter), done)
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, done)
    return max(found)


def _tensors(part: Any, model: dict[str, Any], loading: bool) -> dict[str, Any]:
    _initialise(part)
    gathering = {
        "distrib_optim_sharding_type": "fully_reshardable",
        # On the first data-parallel rank's CPU, not on every rank's device.
        "distrib_optim_fully_reshardable_mem_efficient": getattr(part, "data_parallel_group_gloo", None) is not None,
    }
    tree = part.sharded_state_dict(model, is_loading=loading, metadata=gathering)
    if isinstance(part, DistributedOptimizer):
        return {"state": tree["param_state"] or {}}
    state = {key: value for key, value in tree.get("optimizer", tree)["state"].items() if key != "common_step"}
    copies = {f"{i}.{j}": copy for i, group in enumerate(tree.get(COPIES, ())) for j, copy in enumerate(group)}
    return {"state": state, COPIES: copies}


def _initialise(part: Any) -> None:
    """Zero moments where no step was made yet: Megatron-Core takes them for granted, torch makes them in its step."""
    if not part.optimizer.state:
        part.init_state_fn(part.optimizer, part.config)
        _set_steps(part.optimizer, 0)


def _set_steps(optimizer: Any, steps: int) -> None:
    """The same count everywhere, in a tensor of its own for each parameter where the optimizer counts so."""
    for group in optimizer.param_groups:
        if not isinstance(optimizer, torch.optim.Adam):
            group["step"] = steps
            continue
        for parameter in group["params"]:
            device = parameter.device if group["fused"] or group["capturable"] else torch.device("cpu")
            optimizer.state[parameter]["step"] = torch.tensor(float(steps), device=device)
