"""One of two data-parallel ranks: trains every case, with Megatron-Core first, and writes what it found.

`torchrun --nproc-per-node 2 -m tests.distributed.deepspeed_worker FOLDER CASE…`; FOLDER as for `worker.py`.
"""

import sys
from pathlib import Path

import attrs
import torch
from deepspeed.utils import safe_get_full_grad
from torch import distributed

from adapters.deepspeed import idle_towers
from adapters.deepspeed.engine import DeepSpeedEngine
from adapters.deepspeed.whole_weights import copy_weights
from adapters.huggingface.import_weights import import_weights
from adapters.megatron import build, runtime
from adapters.megatron.engine import MegatronEngine
from adapters.prove.layouts.job import WEIGHTS, read_alone
from adapters.training.problems import NonFiniteError
from tests.distributed.deepspeed_cases import (
    CASES,
    CHANGES,
    FAULTS,
    HANGS,
    SAVED,
    SLOW,
    STAGES,
    STEPS,
    batches,
    lr,
    settings,
)
from tests.distributed.graphs import tiny


def megatron(model, rows, rank):
    engine, found = MegatronEngine([model], settings()), {"losses": [], "norms": []}
    for stage in STAGES:
        engine.begin_stage(stage)
        for step in range(stage.steps):
            if (stage, step) == (STAGES[0], 1):
                found["gradients"] = gradients_before_clipping(engine)
            result = engine.step(batches(rows, step, rank), lr(step))
            found["losses"].append(result.loss)
            found["norms"].append(result.grad_norm)
    return found


def gradients_before_clipping(engine):
    """A dictionary that the next step fills."""
    found, prepare = {}, engine.optimizer.prepare_grads

    def watched():
        if not found:
            found.update({name: p.main_grad.clone() for name, p in engine.model.named_parameters()})
        return prepare()

    engine.optimizer.prepare_grads = watched
    return found


class Watched(DeepSpeedEngine):
    """Keeps the gradients of its second step."""

    steps = 0
    gradients = None

    def _update(self, loss):
        self.steps += 1
        if self.steps == 2:
            self.gradients = {n: safe_get_full_grad(p).clone() for n, p in self.model.named_parameters()}
        return super()._update(loss)


def begun(case, model):
    engine = Watched(model, settings(case), CHANGES)
    engine.begin_stage(STAGES[0])
    return engine


def run(engine, rows, rank, steps):
    return [attrs.astuple(engine.step(batches(rows, step, rank), lr(step))) for step in steps]


def deepspeed(case, model, rows, rank, folder):
    engine = begun(case, model)
    results = run(engine, rows, rank, range(SAVED))
    engine.save(folder / case.id / "saved", {"step": SAVED})
    results += run(engine, rows, rank, range(SAVED, STEPS))
    engine.export(folder / case.id / "exported")
    before, gathered = weights(engine), gathered_by_deepspeed(engine, case)
    engine.begin_stage(STAGES[1])
    results += run(engine, rows, rank, range(STAGES[1].steps))
    return {
        "losses": [loss for loss, _ in results],
        "norms": [norm for _, norm in results],
        "gradients": engine.gradients,
        "weights": gathered,
        "optimized": optimized(engine, case),
        "changed": changed(before, weights(engine)),
        "refused": refusal(engine, rows, rank),
    }


def resumed(case, rows, rank, folder):
    engine = begun(case, build(tiny(case.variant)).train())
    progress = engine.load(folder / case.id / "saved")
    return {"progress": progress, "results": run(engine, rows, rank, range(progress["step"], STEPS))}


def broken(case, model, rows, rank):
    """One step with the case's fault."""
    engine = begun(case, model)
    agree, inputs = engine._agree, engine._inputs
    if case.fault == "each_rank_by_its_own_tokens":
        engine._agree = lambda batches, given: (
            0 * agree(batches, given) + len(batches) * sum(b.targets for b in batches)
        )
    elif case.fault == "micro_batches_averaged":
        engine._inputs = lambda batch: (given := inputs(batch)) | {"loss_mask": given["loss_mask"] / batch.targets}
    elif case.fault == "spare_item_counts":
        idle_towers.NOTHING = 1.0
    elif case.fault == "towers_rest":
        engine.towers.keep = lambda *_: None
    results = run(engine, rows, rank, range(2))
    idle_towers.NOTHING = 0.0
    return {"losses": [loss for loss, _ in results], "gradients": engine.gradients}


def refusal(engine, rows, rank):
    """What a picture of no numbers, on one rank, is answered with, and whether a weight changed."""
    given = batches(rows, 2, rank)
    if rank == 0:
        given[0] = attrs.evolve(given[0], pixel_values=given[0].pixel_values * float("nan"))
    before = weights(engine)
    try:
        engine.step(given, 1e-4)
    except NonFiniteError as error:
        return {"message": str(error), "changed": changed(before, weights(engine))}
    return None


def weights(engine):
    whole = build(engine.graph)
    copy_weights(engine.model, whole)
    return {name: parameter.detach() for name, parameter in whole.named_parameters()}


def changed(before, after):
    return [name for name, value in before.items() if not value.equal(after[name])]


def gathered_by_deepspeed(engine, case):
    if case.stage == 3:
        return engine.engine._zero3_consolidated_16bit_state_dict()
    return {name: parameter.detach().clone() for name, parameter in engine.model.named_parameters()}


def optimized(engine, case):
    """Names of the parameters that DeepSpeed's optimizer updates."""
    optimizer = engine.engine.optimizer
    attribute = ("param_groups", "bit16_groups", "bit16_groups", "fp16_groups")[case.stage]
    groups = getattr(optimizer, attribute)
    held = {id(p) for group in groups for p in (group["params"] if case.stage == 0 else group)}
    return [name for name, parameter in engine.model.named_parameters() if id(parameter) in held]


def model_of(variant, folder):
    made = build(tiny(variant)).train()
    import_weights(made, folder / variant / WEIGHTS)
    return made


def main(folder, chosen):
    rank = distributed.get_rank()
    cases = [case for case in (*CASES, *SLOW, *FAULTS, HANGS) if case.id in chosen]
    variants = sorted({case.variant for case in cases})
    rows = {variant: read_alone(folder / variant).batches["pictures"] for variant in variants}
    found = {"megatron": {name: megatron(model_of(name, folder), rows[name], rank) for name in variants}}
    for case in cases:
        given = (case, model_of(case.variant, folder), rows[case.variant], rank)
        if case.fault:
            found[case.id] = broken(*given)
        else:
            found[case.id] = deepspeed(*given, folder)
            found[case.id]["resumed"] = resumed(case, rows[case.variant], rank, folder)
    torch.save(found, folder / f"deepspeed.{rank}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    runtime.init()
    main(Path(sys.argv[1]), sys.argv[2:])
