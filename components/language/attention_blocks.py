"""When attention keeps its mask as a table, and when it goes block by block (torch-free: plans read it too)."""

TABLE_PAIRS = 2**24
"""Most pairs of queries and keys that are kept as a table; beyond, attention goes block by block of queries."""
BLOCK_QUERIES = 512
