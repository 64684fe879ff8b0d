"""What a user asks a plan for: the convergence fields of a job, and what its samples look like."""

from typing import Literal

from attrs import frozen


@frozen
class Job:
    """One training step, whatever computes it.

    images: per sample; image_tokens: feature rows, and so placeholder tokens, of one image; they count in `seq`.
    """

    gpus: int
    seq: int
    global_batch: int
    images: int = 1
    image_tokens: int = 256
    precision: Literal["fp32", "bf16"] = "bf16"
    implementation: Literal["local", "transformer_engine"] = "transformer_engine"

    @property
    def element(self) -> int:
        """Bytes of one activation or parameter."""
        return 2 if self.precision == "bf16" else 4
