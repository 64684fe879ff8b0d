"""Documents of a packed row, apart and together again, found in the metadata of masks."""

import torch

from components.fusion.mask_metadata import MetadataLayout
from components.fusion.sequence_order import SequenceShare
from components.language.documents import PackedDocuments

LAYOUT = MetadataLayout.for_rules([], {})


def metadata(length: int, borders: list[int] | None, batch: int = 1) -> torch.Tensor:
    ids = torch.ones(batch, length, dtype=torch.int64)
    return LAYOUT.build(ids, cu_seqlens=None if borders is None else torch.tensor(borders))


def test_borders_and_the_padding_behind_the_last_document():
    found = PackedDocuments().find(metadata(12, [0, 5, 6, 10]))
    assert found is not None
    assert found.borders.tolist() == [0, 5, 6, 10, 12]
    assert found.lengths == (5, 1, 4, 2)


def test_rows_of_one_document_are_left_as_they_are():
    documents = PackedDocuments()
    assert documents.find(metadata(12, None)) is None
    assert documents.find(metadata(12, [0, 12])) is None
    assert documents.find(metadata(12, None, batch=2)) is None


def test_borders_in_rank_order_are_those_of_the_sequence():
    order = SequenceShare(0, 3).rank_order(12, torch.device("cpu"))
    packed = metadata(12, [0, 5, 6, 10])
    found = PackedDocuments().find(packed[:, :, order], order)
    assert found is not None
    assert found.lengths == (5, 1, 4, 2)


def test_apart_and_together():
    found = PackedDocuments().find(metadata(9, [0, 4, 9]))
    assert found is not None
    row = torch.arange(18.0).view(1, 9, 2)
    apart = found.apart(row)
    assert apart.shape == (2, 5, 2)
    assert torch.equal(apart[0, :4], row[0, :4])
    assert not apart[0, 4:].any()
    assert torch.equal(found.together(apart), row)


def test_a_batch_is_looked_through_once():
    documents, packed = PackedDocuments(), metadata(9, [0, 4, 9])
    assert documents.find(packed) is documents.find(packed)
