"""What a block of queries can reach: never too little, for any rule, in any order of tokens."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.fusion.mask_dense import lower_dense
from components.fusion.mask_metadata import MetadataLayout
from components.fusion.mask_reach import reach
from composer import masks
from tests.components.fusion.test_masks_against_rules import TOKENS, documents, rules


@settings(max_examples=300, deadline=None)
@given(rules, documents, st.data())
def test_a_block_with_its_reach_is_a_part_of_the_whole(rule, documents, data):
    ids = torch.tensor([[token for document in documents for token in document]])
    length = ids.shape[1]
    valid = torch.tensor([data.draw(st.lists(st.booleans(), min_size=length, max_size=length))])
    layout = MetadataLayout.for_rules([rule], TOKENS)
    borders = torch.tensor([0, *(len(document) for document in documents)]).cumsum(0)
    order = torch.tensor(data.draw(st.permutations(range(length))))
    metadata = layout.build(ids, valid, borders)[:, :, order]
    start = data.draw(st.integers(0, length - 1))
    rows = slice(start, data.draw(st.integers(start + 1, length)))

    keys = reach(rule, layout, metadata, rows)
    whole = lower_dense(rule, layout, metadata)[0, 0, rows]
    assert torch.equal(lower_dense(rule, layout, metadata, rows, keys)[0, 0], whole[:, keys])
    outside = torch.ones(length, dtype=torch.bool)
    outside[keys] = False
    assert not whole[:, outside].any()


def test_a_window_reaches_no_further():
    rule = masks.parse("(causal | same_run(image)) & window(4)")
    layout = MetadataLayout.for_rules([rule], TOKENS)
    metadata = layout.build(torch.tensor([[1] * 40 + [9] * 6 + [1] * 20]))
    assert reach(rule, layout, metadata, slice(20, 30)) == slice(17, 30)
    # Queries inside the image see its end.
    assert reach(rule, layout, metadata, slice(40, 42)) == slice(37, 46)
