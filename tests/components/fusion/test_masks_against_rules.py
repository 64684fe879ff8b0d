"""The dense lowering equals the rules' own meaning, pair by pair: any rule, packed documents, padding."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.fusion.mask_dense import lower_dense
from components.fusion.mask_metadata import MetadataLayout
from composer import masks

TOKENS = {"image": 9, "video": 8, "end": 5}
NAMES = {token: name for name, token in TOKENS.items()}

sizes = st.integers(1, 6)
plain = st.sampled_from([masks.Causal(), masks.Bidirectional(), masks.SameDocument()])
runs = st.lists(st.sampled_from(["image", "video"]), min_size=1, max_size=2, unique=True)
leaves = st.one_of(
    plain,
    sizes.map(masks.Window),
    sizes.map(masks.Chunk),
    runs.map(lambda names: masks.SameRun(tuple(names))),
    st.sampled_from(sorted(TOKENS)).map(masks.Prefix),
)
rules = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(masks.Not), st.builds(masks.And, inner, inner), st.builds(masks.Or, inner, inner)
    ),
    max_leaves=4,
)
documents = st.lists(st.lists(st.sampled_from([1, 9, 9, 8, 5]), min_size=1, max_size=7), min_size=1, max_size=3)


@settings(max_examples=300, deadline=None)
@given(rules, documents, st.data())
def test_dense_is_what_the_rule_means(rule, documents, data):
    ids = [token for document in documents for token in document]
    numbers = [number for number, document in enumerate(documents) for _ in document]
    valid = data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    sequence = masks.Layout(tuple(NAMES.get(token) for token in ids), tuple(numbers))
    expected = torch.tensor(
        [
            [masks.allowed(rule, q, k, sequence) and numbers[q] == numbers[k] and valid[k] for k in range(len(ids))]
            for q in range(len(ids))
        ]
    )
    expected |= torch.eye(len(ids), dtype=torch.bool) & ~expected.any(-1, keepdim=True)

    layout = MetadataLayout.for_rules([rule], TOKENS)
    borders = torch.tensor([0, *(len(document) for document in documents)]).cumsum(0)
    metadata = layout.build(torch.tensor([ids]), torch.tensor([valid]), borders)
    assert torch.equal(lower_dense(rule, layout, metadata)[0, 0], expected)
