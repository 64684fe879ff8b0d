import pytest
import torch

from components.fusion.mask_dense import lower_dense
from components.fusion.mask_metadata import Field, MetadataLayout
from composer.masks import And, Bidirectional, Causal, Not, Or, Prefix, SameDocument, SameRun, Window

TOKENS = {"image": 9, "video": 8, "end": 5}
IMAGES = SameRun(tokens=("image", "video"))


def test_one_run_field_for_each_distinct_set_of_tokens():
    rules = [Or(left=Causal(), right=IMAGES), Not(rule=SameRun(tokens=("video", "image"))), SameRun(tokens=("image",))]
    layout = MetadataLayout.for_rules([*rules, And(left=Prefix(token="end"), right=Window(size=4))], TOKENS)
    assert layout.runs == ((8, 9), (9,))
    assert layout.prefixes == (5,)
    assert layout.num_fields == 6
    assert layout.asks_tokens == ("mask rules",)
    assert not MetadataLayout.for_rules([Causal(), Window(size=3), SameDocument()], TOKENS).asks_tokens


def test_fields_of_a_packed_row():
    layout = MetadataLayout.for_rules([IMAGES, Prefix(token="end")], TOKENS)
    input_ids = torch.tensor([[1, 9, 9, 8, 5, 2, 9, 5, 3, 0, 0]])
    metadata = layout.build(input_ids, cu_seqlens=torch.tensor([0, 2, 9], dtype=torch.int32))
    assert metadata.dtype == torch.int32
    assert metadata.tolist() == [
        [
            [0, 1, 0, 1, 2, 3, 4, 5, 6, 0, 1],  # position
            [0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 2],  # document
            [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0],  # valid
            [-1, 0, 1, 1, -1, -1, 2, -1, -1, -1, -1],  # run, ended by the border inside of it
            [-1, -1, 0, 0, 0, 0, 0, 0, -1, -1, -1],  # prefix, up to the last mark of its document
        ]
    ]


def test_leading_padding_counts_backwards():
    layout = MetadataLayout.for_rules([Causal()], TOKENS)
    valid = torch.tensor([[False, False, True, True], [True, True, True, False], [False] * 4])
    metadata = layout.build(torch.zeros(3, 4, dtype=torch.long), valid)
    assert metadata[:, Field.POSITION].tolist() == [[-2, -1, 0, 1], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert torch.equal(metadata[:, Field.VALID].bool(), valid)


@pytest.mark.parametrize("rule", [Causal(), Bidirectional(), Not(rule=Causal()), Window(size=2), IMAGES])
def test_no_query_is_left_without_a_key_and_padding_is_seen_only_by_itself(rule):
    layout = MetadataLayout.for_rules([rule], TOKENS)
    input_ids = torch.tensor([[0, 0, 1, 9, 9, 0]])
    valid = input_ids != 0
    allowed = lower_dense(rule, layout, layout.build(input_ids, valid))[0, 0]
    assert allowed.any(-1).all()
    others = allowed & ~torch.eye(6, dtype=torch.bool)
    assert not others[:, ~valid[0]].any()
    scores = torch.zeros(6, 6).masked_fill(~allowed, float("-inf"))
    assert torch.isfinite(scores.softmax(-1)).all()


def test_metadata_grows_with_the_sequence_alone():
    layout = MetadataLayout.for_rules([IMAGES], TOKENS)
    assert layout.build(torch.zeros(2, 5000, dtype=torch.long)).shape == (2, 4, 5000)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"token 'imag'; known tokens: end, image, video"):
        MetadataLayout.for_rules([SameRun(tokens=("imag",))], TOKENS)
    layout = MetadataLayout.for_rules([Causal()], TOKENS)
    ids = torch.zeros(2, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"attention_mask is \[2, 1, 4, 4\], it must be \[2, 4\]"):
        layout.build(ids, torch.ones(2, 1, 4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="batch of 1, not 2"):
        layout.build(ids, cu_seqlens=torch.tensor([0, 4]))
