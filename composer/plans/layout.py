"""How a run is spread over processes."""

from math import gcd
from typing import Literal

from attrs import field, frozen


def _doc(text: str) -> dict[str, str]:
    return {"description": text}


@frozen(cache_hash=True)
class Layout:
    """Model parallelism; what processes remain are data parallel."""

    tp: int = field(default=1, metadata=_doc("Tensor-parallel ranks."))
    pp: int = field(default=1, metadata=_doc("Pipeline ranks."))
    virtual_stages: int = field(default=1, metadata=_doc("Pipeline stages of each pipeline rank."))
    cp: int = field(default=1, metadata=_doc("Context-parallel ranks: each holds a part of every sequence."))
    ep: int = field(default=1, metadata=_doc("Expert-parallel ranks: each holds some of the experts."))
    etp: int = field(default=1, metadata=_doc("Ranks that each expert is split over."))
    sequence_parallel: bool = field(
        default=False,
        metadata=_doc("Split activations between tensor-parallel regions along the sequence; experts with tp need it."),
    )
    first_stage_layers: int | None = field(
        default=None,
        metadata=_doc(
            "Decoder layers on the first pipeline rank; 0: it only embeds and encodes; null: as many as elsewhere."
        ),
    )
    last_stage_layers: int | None = field(
        default=None,
        metadata=_doc("Decoder layers on the last pipeline rank; 0: it only makes logits; null: as many as elsewhere."),
    )
    recompute: Literal["none", "full", "selective"] = field(
        default="none",
        metadata=_doc("Which activations of decoder layers are computed again in the backward pass instead of kept."),
    )
    recompute_modules: tuple[str, ...] = field(
        default=(), metadata=_doc("Megatron-Core's names of what `selective` computes again; empty: core_attn.")
    )

    @property
    def model_ranks(self) -> int:
        """Ranks that share one replica of the model and the same samples."""
        return self.tp * self.pp * self.cp

    @property
    def fewest_data_ranks(self) -> int:
        """Replicas that experts, shared by ranks with the same layers, need at least."""
        experts = self.ep * self.etp
        return experts // gcd(experts, self.tp * self.cp)


@frozen
class Zero:
    """DeepSpeed's ZeRO."""

    stage: Literal[0, 1, 2, 3] = field(
        default=0,
        metadata=_doc("What data-parallel ranks share out: 1 optimizer state, 2 gradients too, 3 parameters too."),
    )
    offload: bool = field(default=False, metadata=_doc("Optimizer state and step on the CPU."))


def layout_findings(layout: Layout) -> list[tuple[str, str]]:
    """Contradictions within a layout: (path, message) each."""
    sizes = {name: getattr(layout, name) for name in ("tp", "pp", "virtual_stages", "cp", "ep", "etp")}
    found = [(f"layout.{name}", f"{size} is not positive.") for name, size in sizes.items() if size < 1]
    if layout.pp == 1:
        message = "there is no pipeline: set layout.pp to 2 or more."
        unused = {
            "virtual_stages": layout.virtual_stages > 1,
            "first_stage_layers": layout.first_stage_layers is not None,
            "last_stage_layers": layout.last_stage_layers is not None,
        }
        found += [(f"layout.{name}", message) for name, given in unused.items() if given]
    if layout.sequence_parallel and layout.tp == 1:
        found.append(("layout.sequence_parallel", "works between tensor-parallel ranks: set layout.tp to 2 or more."))
    if layout.recompute_modules and layout.recompute != "selective":
        found.append(("layout.recompute_modules", "is read with `recompute: selective` only."))
    return found
