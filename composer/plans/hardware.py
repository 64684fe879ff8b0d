"""The hardware of a job, from a small YAML file: `specs/hardware/*.yaml`, or a user's own."""

from attrs import field, frozen


def _doc(text: str) -> dict[str, str]:
    return {"description": text}


@frozen
class Efficiency:
    """Shares of the peak that are reached, by kind of operation; what `--calibrate` fits."""

    gemm: float = field(metadata=_doc("Large matrix products, of `tflops`."))
    grouped_gemm: float = field(metadata=_doc("Products of many experts at once, of `tflops`."))
    attention: float = field(metadata=_doc("Fused attention kernels, of `tflops`."))
    elementwise: float = field(metadata=_doc("Everything else on the GPU, of `memory_gbs`."))
    network: float = field(metadata=_doc("Collectives, of the bandwidth of the link they use."))


@frozen
class Hardware:
    """One kind of GPU in nodes of some size. Bandwidths are of one GPU, one direction, in GB/s (1e9 bytes)."""

    name: str = field(metadata=_doc("Name of the GPU."))
    memory_gib: float = field(metadata=_doc("Memory of one GPU, GiB, as the driver reports it."))
    tflops: float = field(metadata=_doc("Peak of dense bf16 matrix products, TFLOP/s."))
    fp32_tflops: float = field(metadata=_doc("Peak of fp32 matrix products as torch runs them, TFLOP/s."))
    memory_gbs: float = field(metadata=_doc("Memory bandwidth, GB/s."))
    node_gpus: int = field(metadata=_doc("GPUs joined by NVLink."))
    nvlink_gbs: float = field(metadata=_doc("NVLink bandwidth, GB/s."))
    network_gbs: float = field(metadata=_doc("Network bandwidth between nodes, GB/s."))
    latency_us: float = field(metadata=_doc("Start of one collective, microseconds."))
    launch_us: float = field(metadata=_doc("Time the host takes to start one kernel from PyTorch, microseconds."))
    reserve_gib: float = field(metadata=_doc("Memory never available: CUDA context, libraries, fragments."))
    efficiency: Efficiency = field(metadata=_doc("Shares of the peaks that are reached."))
    spread: float = field(default=0.15, metadata=_doc("Half width of intervals, as a share of what is likely."))
    sources: tuple[str, ...] = field(default=(), metadata=_doc("Where the numbers come from."))
