"""When attention keeps its mask as a table, and when it goes block by block (torch-free: plans read it too)."""

TABLE_PAIRS = 2**24
"""Most pairs of queries and keys that are kept as a table; beyond, attention goes block by block of queries."""
BLOCK_QUERIES = 512
CAPPED_SCORES = 2**26
"""Most scores that capped attention stores at once, over all heads; it has no kernel that stores none."""


def capped_block(batch: int, heads: int, keys: int) -> int:
    """Queries of one block of capped attention, or more than there are if one block does."""
    return max(1, CAPPED_SCORES // (batch * heads * keys))
