"""Export or import more than 1 GB in this process and print, as JSON, what it took: run by test_memory.py.

    python -m tests.adapters.huggingface.measure_memory export|import DIRECTORY

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

import adapters.megatron
from adapters.huggingface.composed_tensors import composed_tensors
from adapters.huggingface.config import plain
from adapters.huggingface.export_weights import export_weights
from adapters.huggingface.import_weights import import_weights
from composer import load
from tests.adapters.huggingface.tiny_checkpoints import SPEC, tiny_config

LARGE = {
    "vocab_size": 98_304,
    "hidden_size": 1024,
    "intermediate_size": 8192,
    "enable_moe_block": True,
    "num_experts": 16,
    "top_k_experts": 2,
    "moe_intermediate_size": 704,
}


def resident(field: str) -> int:
    """VmRSS or VmHWM in bytes."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def restart() -> None:
    """Give free memory back to the system, and let VmHWM begin again."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def main(action: str, directory: str) -> None:
    adapters.megatron.build(load(SPEC, hf=plain(tiny_config())))  # loads what has to be loaded
    restart()
    before = resident("VmRSS")
    source = tiny_config(**LARGE) if action == "export" else directory
    model = adapters.megatron.build(load(SPEC, hf=plain(source)))
    built = resident("VmHWM")
    restart()
    started = time.perf_counter()
    {"export": export_weights, "import": import_weights}[action](model, directory)
    report = {
        "parameters": sum(tensor.nbytes for tensor in composed_tensors(model).values()),
        "before": before,
        "peak_building": built - before,
        "peak": resident("VmHWM") - before,
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
