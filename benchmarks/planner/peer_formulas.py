"""What Megatron-LM prints as a job's theoretical memory, written anew from its published formula.

Source: NVIDIA/Megatron-LM, megatron/training/theoretical_memory_usage.py at commit 00caa53 (not part of megatron-core).
Parameters are counted as if every layer were of one kind and divided by tensor- and pipeline-parallel ranks only;
activations follow table 2 of arXiv 2205.05198 for a plain network.
"""

from attrs import frozen

from composer.plans.layout import Layout


@frozen
class MegatronSizes:
    """The arguments of a training run that the formula reads. ffn: of the dense network, or the shared expert."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    tied: bool
    experts: int = 0
    expert_ffn: int = 0
    shared_ffn: int = 0

    @property
    def layer(self) -> int:
        """Parameters of a layer: queries, keys, values, projection, gated networks, two norms."""
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)
        width = self.experts * self.expert_ffn + self.shared_ffn if self.experts else self.ffn
        return attention + 3 * self.hidden * width + 2 * self.hidden

    @property
    def table(self) -> int:
        """Parameters of the embedding, or of an output layer."""
        return self.vocab * self.hidden


def weights_and_optimizer(sizes: MegatronSizes, layout: Layout, data_ranks: int, *, distributed: bool) -> float:
    """Bytes on the fullest rank: its layers and one table (two where they are apart and there is no pipeline)."""
    tables = 1 if sizes.tied or layout.pp > 1 else 2
    elements = (sizes.layers * sizes.layer + sizes.hidden) / layout.pp + tables * sizes.table
    return elements / layout.tp * (6 + 12 / data_ranks if distributed else 18)


def activations(sizes: MegatronSizes, layout: Layout, seq: int, micro_batch: int, micro_batches: int) -> float:
    """Bytes on the first pipeline rank; the formula knows one case with sequence parallelism, and one without."""
    tokens, chosen = seq * micro_batch, layout.sequence_parallel and layout.recompute == "selective"
    if chosen:
        each = tokens * sizes.hidden * (18 + 4 * sizes.ffn / sizes.hidden)
    else:
        each = tokens * sizes.hidden * (10 + 24 / layout.tp)
    total = each * sizes.layers + tokens * (8 + sizes.hidden) * layout.pp
    if layout.virtual_stages > 1:
        total *= 1 + (layout.pp - 1) / (layout.pp * layout.virtual_stages)
    elif layout.pp > 1:
        total *= min(1, micro_batches / layout.pp)
    if chosen:
        return (total + (4 * tokens * (sizes.hidden + sizes.vocab) if layout.pp == 1 else 0)) / layout.tp
    return 1.05 * (total + (2 * tokens * (sizes.vocab / layout.tp + sizes.hidden) if layout.pp == 1 else 0))
