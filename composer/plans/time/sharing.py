"""Seconds that follow the last micro-batch: gradients and parameters between replicas, and the optimizer's step."""

from composer.plans.costs import Collective
from composer.plans.execution import Execution
from composer.plans.time.network import Groups, Links
from composer.plans.time.trained import Trained

GRADIENT = 4
"""Bytes of a gradient that is summed over micro-batches and replicas: fp32 in both engines."""
STEP_LAUNCHES = 6
"""Kernels of the optimizer for each parameter: copies, norm, step."""
HOOK_LAUNCHES = 7
"""Host time of gathering and letting go of one parameter, in kernels started: Python, as of a module."""
PCIE_GBS = 25.0
"""Between a GPU and its host, GB/s, with --offload."""
HOST_GBS = 25.0
"""Host memory for one of the GPUs of a node, GB/s, with --offload."""


def accumulated_bytes(element: int) -> int:
    """Moved for an element when a micro-batch's gradient is added: read it, read the sum, write it."""
    return element + 2 * GRADIENT


def stepped_bytes(element: int) -> int:
    """Moved for an element by AdamW: gradient (also for its norm), parameter and two moments, and the bf16 copy."""
    copy = 4 + element if element < 4 else 0
    return 2 * GRADIENT + 3 * 8 + GRADIENT + copy


def optimizer_seconds(trained: Trained, execution: Execution, element: int, memory: float, launch: float) -> float:
    """Of one rank's step.

    Args:
        trained: on the rank. execution: says who shares optimizer state. element: bytes of a parameter in the model.
        memory: bytes/s. launch: seconds to start a kernel.
    """
    dense, expert = trained.dense, trained.expert
    if shares_state(execution):
        dense /= execution.data_ranks * execution.layout.cp
        expert /= execution.expert_data_ranks
    elements = dense + expert
    if execution.zero.offload and execution.engine == "deepspeed":
        return elements * ((GRADIENT + element) / PCIE_GBS + 28 / HOST_GBS) / 1e9
    return max(elements * stepped_bytes(element) / memory, trained.tensors * STEP_LAUNCHES * launch)


def shares_state(execution: Execution) -> bool:
    """Whether replicas share optimizer state out."""
    return execution.zero.stage > 0 if execution.engine == "deepspeed" else execution.distributed_optimizer


def exposed_seconds(
    trained: Trained,
    parameters: float,
    execution: Execution,
    micro_batches: int,
    element: int,
    groups: Groups,
    links: Links,
    compute: float,
    hooks: float = 0.0,
) -> float:
    """Of gradients and parameters between replicas, what is not hidden behind computing.

    With overlap, gradients travel during the last micro-batch's backward pass (two thirds of its time), parameters
    during the first one's forward pass. ZeRO-2 scatters gradients after every micro-batch; ZeRO-3 also gathers all
    parameters in every pass.

    Args:
        trained: on this rank. parameters: all elements on this rank.
        execution: of the job. micro_batches: of each replica. element: bytes of a parameter in the model.
        groups, links: where it travels. compute: seconds of one micro-batch on this rank.
        hooks: seconds of the host in one pass, in which ZeRO-3 gathers each parameter by itself.
    """
    shared = shares_state(execution)
    gradient = _both(trained, GRADIENT, "reduce_scatter" if shared else "all_reduce", groups, links)
    gathered = _both(trained, element, "all_gather", groups, links) if shared else 0.0
    stage = execution.zero.stage if execution.engine == "deepspeed" else 0
    hidden = compute if execution.overlap else 0.0
    if stage == 3:
        everything = links.seconds("all_gather", groups.data, parameters * element)
        return micro_batches * (max(0.0, 2 * everything + gradient - hidden) + 2 * hooks)
    if stage == 2:
        return micro_batches * max(0.0, gradient - hidden * 2 / 3) + gathered
    return max(0.0, gradient - hidden * 2 / 3) + max(0.0, gathered - hidden / 3)


def _both(trained: Trained, bytes_: int, collective: Collective, groups: Groups, links: Links) -> float:
    dense = links.seconds(collective, groups.data, trained.dense * bytes_) if trained.dense else 0.0
    expert = links.seconds(collective, groups.expert_data, trained.expert * bytes_) if trained.expert else 0.0
    return dense + expert
