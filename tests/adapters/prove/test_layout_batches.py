"""The batches that layouts are proved on hold what they are for."""

import pytest
import torch

from adapters.parity.batch import make_batch
from adapters.parity.oracle import build_oracle
from adapters.prove.layouts.batches import documents_of, global_batches
from adapters.prove.layouts.who_changes import chosen, layers_alone
from adapters.prove.placed import placed_rows
from components.fusion.sequence_order import SequenceShare
from composer.plans.layout import Layout
from tests.distributed.graphs import tiny


@pytest.fixture(scope="module")
def found():
    graph = tiny("dense")
    return graph.tokens["image"], global_batches(make_batch(graph, build_oracle(graph)))


def runs(ids, image):
    """First and last token of every stretch of placeholders of a row."""
    inside = (ids[0] == image).tolist()
    starts = [at for at, here in enumerate(inside) if here and not (at and inside[at - 1])]
    return [
        (start, next(at for at in range(start, len(inside) + 1) if at == len(inside) or not inside[at]) - 1)
        for start in starts
    ]


@pytest.mark.parametrize("name", ["pictures", "packed documents"])
@pytest.mark.parametrize("ranks", [2, 4])
def test_an_image_lies_on_two_context_parallel_ranks(found, name, ranks):
    image, batches = found
    spanning = 0
    turned = chosen(1)[0] if name == "packed documents" else range(4)
    for batch in (batches[name].micro_batches[number] for number in turned):
        length = batch["input_ids"].shape[1]
        order = SequenceShare(ranks=ranks).rank_order(length, torch.device("cpu"))
        holders = torch.empty(length, dtype=torch.int64)
        holders[order] = torch.arange(length) // (length // ranks)
        spanning += sum(int(holders[first]) != int(holders[last]) for first, last in runs(batch["input_ids"], image))
    assert spanning


def test_two_images_touch(found):
    image, batches = found
    first = batches["pictures"].micro_batches[0]
    assert int(first["images_per_sample"]) > len(runs(first["input_ids"], image))


@pytest.mark.parametrize("data_ranks", [1, 2, 4])
def test_every_document_with_images_is_in_a_row_whose_features_are_turned(found, data_ranks):
    image, batches = found
    rows = batches["packed documents"].micro_batches
    pieces = [row["input_ids"][0].tensor_split(row["cu_seqlens"][1:].long()) for row in rows]
    documents = [{tuple(piece.tolist()) for piece in row if image in piece} for row in pieces]
    turned = [number for numbers in chosen(data_ranks) for number in numbers]
    assert len(set.union(*documents)) == 3
    assert set.union(*(documents[number] for number in turned)) == set.union(*documents)


@pytest.mark.parametrize(
    ("layout", "layers"),
    [
        (Layout(tp=2), [0, 2]),
        (Layout(pp=2), [0, 2, 3]),
        (Layout(pp=2, virtual_stages=2), [0, 1, 2, 3]),
        (Layout(pp=2, first_stage_layers=0), [0, 2]),
        (Layout(pp=2, last_stage_layers=1), [0, 2, 3]),
    ],
)
def test_the_first_layer_of_each_kind_on_every_stage_attends_alone(layout, layers):
    graph, order = tiny("dense"), ("sliding", "sliding", "full", "sliding")
    [placed] = [each for each in placed_rows(graph) if each.edge.at == ("image",)]
    assert layers_alone(placed, order, layout) == layers


@pytest.mark.parametrize("data_ranks", [1, 2, 4])
def test_images_touch_at_a_document_border(found, data_ranks):
    image, batches = found
    touching = 0
    turned = [number for numbers in chosen(data_ranks) for number in numbers]
    for batch in (batches["packed documents"].micro_batches[number] for number in turned):
        ids, documents = batch["input_ids"][0].tolist(), documents_of(batch)
        touching += sum(
            ids[at] == ids[at + 1] == image and documents[at] != documents[at + 1] for at in range(len(ids) - 1)
        )
    assert touching


def test_rows_without_pictures_beside_rows_with_some(found):
    _, batches = found
    assert 0 in batches["pictures"].images
    assert batches["pictures on some ranks"].images[2:] == [0, 0]
    assert sum(batches["no pictures"].images) == 0
    assert all(batches["packed documents"].images)
