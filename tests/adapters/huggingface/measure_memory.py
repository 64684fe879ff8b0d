"""Export or import a large checkpoint in this process and print, as JSON, what it took: run by test_memory.py.

    python -m tests.adapters.huggingface.measure_memory export|import DIRECTORY
    torchrun --nproc-per-node 2 -m tests.adapters.huggingface.measure_memory export|import DIRECTORY tp2|ep2|pp2

More than 1 GB alone. With a layout, each rank prints what it took for its own part; `ratio` is the peak over its own
parameters.

Resident memory is the kernel's count of everything, the pages of mapped files too: VmRSS before the model is built
(libraries, thread pools), and VmHWM, its peak, afterwards. `peak_building` and `peak` are what building the model and
moving its weights reached above that. In between, what the C allocator keeps of building's temporaries goes back: it
belongs to neither and varies by 100 MB from run to run.
"""

import ctypes
import json
import re
import sys
import time
from pathlib import Path

from torch import distributed

import adapters.megatron
from adapters.huggingface.composed_tensors import rank_tensors
from adapters.huggingface.config import plain
from adapters.huggingface.export_weights import export_weights
from adapters.huggingface.import_weights import import_weights
from composer import load
from tests.adapters.huggingface.tiny_checkpoints import EXPERTS, SPEC, tiny_config

LARGE = {
    "vocab_size": 98_304,
    "hidden_size": 1024,
    "intermediate_size": 8192,
    "enable_moe_block": True,
    "num_experts": 16,
    "top_k_experts": 2,
    "moe_intermediate_size": 704,
}
PARALLEL = {
    "num_hidden_layers": 4,
    "num_global_key_value_heads": 2,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}
# For two ranks: a few hundred MB each.
LARGE_PARALLEL = LARGE | PARALLEL | {"vocab_size": 49_152, "intermediate_size": 4096, "num_experts": 8}
LAYOUTS = {"": {}, "tp2": {"tp": 2}, "ep2": {"ep": 2}, "pp2": {"pp": 2}}


def resident(field: str) -> int:
    """VmRSS or VmHWM in bytes."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def restart() -> None:
    """Give free memory back to the system, and let VmHWM begin again."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def main(action: str, directory: str, layout: str = "") -> None:
    adapters.megatron.runtime.init(**LAYOUTS[layout])
    shape, settings = PARALLEL if layout else {}, {"sequence_parallel": True} if layout == "tp2" else {}
    # Loads what has to be loaded.
    adapters.megatron.build(load(SPEC, hf=plain(tiny_config(**EXPERTS, **shape))), **settings)
    restart()
    before = resident("VmRSS")
    source = tiny_config(**(LARGE_PARALLEL if layout else LARGE)) if action == "export" else directory
    model = adapters.megatron.build(load(SPEC, hf=plain(source)), **settings)
    built = resident("VmHWM")
    restart()
    started = time.perf_counter()
    {"export": export_weights, "import": import_weights}[action](model, directory)
    parameters = sum(tensor.nbytes for tensor in rank_tensors(model).values())
    report = {
        "rank": distributed.get_rank(),
        "parameters": parameters,
        "before": before,
        "peak_building": built - before,
        "peak": (peak := resident("VmHWM") - before),
        "ratio": round(peak / parameters, 3),
        "seconds": round(time.perf_counter() - started, 1),
    }
    # One write: ranks share a pipe, and a line of one must not end in the middle of another's.
    sys.stdout.write(f"{json.dumps(report)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
