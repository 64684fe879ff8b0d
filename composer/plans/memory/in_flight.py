"""How many micro-batches a pipeline rank has gone forward with and not yet back, at most: Megatron-Core's schedules.

Without virtual stages, 1F1B: rank p of P warms up with P - p - 1. With v virtual stages (interleaved): with
2 (P - p - 1) + (v - 1) P passes of single stages, dealt out to its stages P micro-batches at a time.
Source: megatron-core 0.19.2 pipeline_parallel/schedules.py, get_pp_rank_microbatches and get_schedule_table.
"""

from functools import cache


@cache
def in_flight(pipeline_ranks: int, virtual_stages: int, micro_batches: int) -> tuple[tuple[int, ...], ...]:
    """For each pipeline rank, for each of its virtual stages, when the first backward pass begins."""
    return tuple(_of_rank(rank, pipeline_ranks, virtual_stages, micro_batches) for rank in range(pipeline_ranks))


def _of_rank(rank: int, ranks: int, virtual: int, micro_batches: int) -> tuple[int, ...]:
    if virtual == 1:
        return (min(micro_batches, ranks - rank),)
    begun = min(micro_batches * virtual, 2 * (ranks - rank - 1) + (virtual - 1) * ranks + 1)
    counts, first = [0] * virtual, 0
    while begun > 0:
        group = min(ranks, micro_batches - first)
        for stage in range(virtual):
            passes = min(group, begun)
            counts[stage] += passes
            begun -= passes
        first += group
    return tuple(counts)
