"""One of two ranks, where the first is slow to publish and to export, and then cannot save.

`torchrun --nproc-per-node 2 -m tests.adapters.deepspeed.waiting_ranks FOLDER` writes `errors.RANK` into FOLDER.
"""

import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed
from torch.distributed.distributed_c10d import _set_pg_timeout

from adapters import checkpoint_folder
from adapters.deepspeed import engine as engines
from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.megatron import build, runtime
from adapters.training.settings import Stage, Training
from composer.plans.layout import Zero
from tests.distributed.graphs import tiny

TIMEOUT_S, SLOW_S = 4, 6
ALIGN = Stage("align", steps=1, trains=("embed_vision",))
SETTINGS = Training(stages=(ALIGN,), global_batch=2, engine="deepspeed", zero=Zero(1))


def slowly(work):
    def slow(*given, **named):
        time.sleep(SLOW_S)
        return work(*given, **named)

    return slow


def main(folder):
    engine = engines.DeepSpeedEngine(build(tiny("dense")), SETTINGS)
    engine.begin_stage(ALIGN)
    checkpoint_folder.publish = slowly(checkpoint_folder.publish)
    engines.export_weights = slowly(engines.export_weights)
    distributed.barrier()
    _set_pg_timeout(timedelta(seconds=TIMEOUT_S))
    engine.save(folder / "step-00000001", {})
    engine.export(folder / "hf")
    errors = []
    for work in (
        lambda: engine.save(folder / "step-00000001", {}),
        lambda: engine.export(folder / "hf" / "config.json"),
    ):
        try:
            work()
        except CheckpointError as error:
            errors.append(str(error))
    (folder / f"errors.{engine.data_rank}").write_text("\n".join(errors))


if __name__ == "__main__":
    torch.set_num_threads(1)
    runtime.init()
    main(Path(sys.argv[1]))
    runtime.destroy()
