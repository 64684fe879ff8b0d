"""What a number was measured on."""

from importlib.metadata import PackageNotFoundError, version

import torch

PACKAGES = ("torch", "megatron-core", "transformers", "transformer-engine", "triton")


def environment() -> dict[str, str]:
    """The card, its memory, CUDA, and versions of what ran on it."""
    properties = torch.cuda.get_device_properties(0)
    found = {
        "card": properties.name,
        "memory": f"{properties.total_memory / 2**30:.0f} GiB",
        "CUDA": torch.version.cuda,
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return {name: str(value) for name, value in found.items()}
