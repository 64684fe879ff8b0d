"""One rank of a model with several towers: `torchrun … -m tests.distributed.towers_worker FOLDER`."""

import sys
from pathlib import Path

import torch
from attrs import asdict

from adapters.megatron.replicas import unwrap
from adapters.megatron.schedule import forward_backward
from adapters.prove.layouts import worker
from adapters.prove.layouts.batches import arguments
from adapters.prove.layouts.gradient_errors import gather_gradients, gradient_parts
from adapters.prove.layouts.job import read_alone
from tests.distributed.towers_cases import CASES, FROZEN


def frozen(case, stages, batches, node, expected):
    """Parts of gradients while one node is frozen: of all others, and right."""
    trained = [each for stage in stages for each in stage.parameters() if each.requires_grad]
    for stage in stages:
        stage.freeze_selected(node)
    replicas = worker._wrapped(case, stages)
    forward_backward(replicas, [arguments(batch, torch.cuda.current_device()) for batch in batches])
    for replica in replicas:
        gather_gradients(replica)
    parts = [asdict(part) for stage in stages for part in gradient_parts(stage, expected)]
    unwrap(replicas)
    for parameter in trained:
        parameter.requires_grad_(True)
    return parts


def run(case, folder):
    stages = worker.start(case, folder)
    alone = read_alone(folder / case.variant)
    own, expected = worker.own_batches(alone)["several"], alone.gradients["several"]
    found = worker._step(case, stages, own, expected)
    found["frozen"] = {node: frozen(case, stages, own, node, expected) for node in FROZEN[case.variant]}
    worker.write(case, folder, found)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in CASES:
        run(each, Path(sys.argv[1]))
