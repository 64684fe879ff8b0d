"""Which keys a block of queries may attend to at most: so that long sequences are lowered block by block, and mostly
skipped. Legend: B batch, S sequence, F fields.
"""

import torch
from attrs import frozen
from torch import Tensor

from components.fusion.mask_metadata import Field, MetadataLayout
from composer.masks import And, Causal, Chunk, Or, Prefix, Rule, SameDocument, SameRun, Window


@frozen(eq=False)
class _Block:
    """Smallest and largest value of every field over a block's queries, and every key's: [B, F, 1] and [B, F, S]."""

    least: Tensor
    most: Tensor
    keys: Tensor

    def within(self, field: int) -> Tensor:
        """[B, S] bool, False where no query of the block can have the key's value."""
        key = self.keys[:, field]
        return (key >= self.least[:, field]) & (key <= self.most[:, field])

    def within_group(self, field: int) -> Tensor:
        """`within` of a field that is negative where a token is in no group."""
        return self.within(field) & (self.keys[:, field] >= 0)


def reach(rule: Rule, layout: MetadataLayout, metadata: Tensor, query_rows: slice) -> slice:
    """A stretch of keys outside of which no query of a block attends to anything; it holds the queries too.

    Args:
        rule: the rule of one layer kind.
        layout: made for a set of rules that holds this one.
        metadata: [B, F, S] int32, tokens in any order.
        query_rows: the block, not empty. Costs one transfer of two integers to the host.
    """
    queries = metadata[:, :, query_rows]
    block = _Block(queries.amin(-1, keepdim=True), queries.amax(-1, keepdim=True), metadata)
    possible = _possible(rule, layout, block) & block.within(Field.DOCUMENT) & (metadata[:, Field.VALID] == 1)
    somewhere = possible.any(0)
    somewhere[query_rows] = True
    found = somewhere.nonzero()
    first, last = torch.stack([found[0, 0], found[-1, 0]]).tolist()
    return slice(first, last + 1)


def _possible(rule: Rule, layout: MetadataLayout, block: _Block) -> Tensor:
    """[B, S] bool, False only where the rule forbids the key to every query of the block."""
    key = block.keys[:, Field.POSITION]
    least, most = block.least[:, Field.POSITION], block.most[:, Field.POSITION]
    match rule:
        case And(left=left, right=right):
            return _possible(left, layout, block) & _possible(right, layout, block)
        case Or(left=left, right=right):
            return _possible(left, layout, block) | _possible(right, layout, block)
        case SameDocument():
            return block.within(Field.DOCUMENT)
        case SameRun():
            return block.within_group(layout.run_field(rule))
        case Prefix():
            return block.within_group(layout.prefix_field(rule))
        case Causal():
            return key <= most
        case Window(size=size):
            return key > least - size
        case Chunk(size=size):
            of_key, of_least, of_most = (at.div(size, rounding_mode="floor") for at in (key, least, most))
            return (of_key >= of_least) & (of_key <= of_most)
    # A negation, or a rule that forbids nothing: what its parts may allow says nothing about what it forbids.
    return torch.ones_like(key, dtype=torch.bool)
