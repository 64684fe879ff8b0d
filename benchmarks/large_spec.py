"""Time loading and checking a generated spec, whole process: `python benchmarks/large_spec.py [--nodes 2000]`.

The spec is a chain of projectors from a tower to a decoder, so nodes and edges grow together.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_RUNS = 5
_LOAD = "import sys; from composer import load; graph = load(sys.argv[1]); print(len(graph.nodes), len(graph.edges))"

_HEAD = """\
spec: 1
name: large
tokens: {image: 7}
inputs:
  input_ids: {type: tokens, shape: [batch, seq]}
  pixel_values: {type: pixels, shape: [image, patch, 48]}
nodes:
  tower: {component: vision.hf_tower, config: {}, inputs: {pixel_values: [image, patch, 48]}, out_dim: 64}
  decoder:
    component: language.gpt
    config: {num_layers: 1, hidden_size: 64, vocab_size: 100, max_positions: 128}
    layers:
      order: [full]
      kinds:
        full:
          attention: {heads: 4, kv_heads: 2, head_dim: 16}
          rope: {theta: 1e4}
          ffn: {dense: {intermediate_size: 128}}
"""
_EDGES = """\
edges:
  - {kind: embed, from: input_ids, to: decoder.embeddings}
  - {kind: position, from: input_ids, to: decoder.rotary}
  - {kind: mask, from: input_ids, to: decoder.attention_mask, rules: {full: causal & window(64)}}
  - {kind: data, from: pixel_values, to: tower.pixel_values}
  - {kind: data, from: tower, to: projector_0}
"""
_NODE = (
    "  projector_{0}: {{component: projector.hf_module, class: Projector, args: [{{width: 64}}], "
    "in_dim: 64, out_dim: 64}}\n"
)
_EDGE = "  - {{kind: data, from: projector_{0}, to: projector_{1}}}\n"


def generate(num_nodes: int) -> str:
    """A valid spec with that many nodes and a few more edges."""
    num_projectors = num_nodes - 2
    nodes = "".join(_NODE.format(i) for i in range(num_projectors))
    edges = "".join(_EDGE.format(i, i + 1) for i in range(num_projectors - 1))
    last = f"  - {{kind: scatter, from: projector_{num_projectors - 1}, to: decoder.embeddings, at: [image]}}\n"
    return _HEAD + nodes + _EDGES + edges + last


def seconds(spec: Path) -> float:
    """Wall-clock seconds of a fresh interpreter that loads and checks a spec."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", _LOAD, str(spec)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Print the median of a few runs, for the generated and the shipped specs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=2000)
    num_nodes = parser.parse_args().nodes
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large.yaml"
        large.write_text(generate(num_nodes), encoding="utf-8")
        for name, spec in (
            (f"{num_nodes} nodes", large),
            *((p.name, p) for p in sorted((ROOT / "specs").glob("*.yaml"))),
        ):
            times = [seconds(spec) for _ in range(_RUNS)]
            print(
                f"{name:24} {statistics.median(times):.2f} s (median of {_RUNS}, {min(times):.2f} to {max(times):.2f})"
            )


if __name__ == "__main__":
    main()
