"""Positions in time, height and width, against transformers' own and by definition."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from transformers.models.ernie4_5_vl_moe.modeling_ernie4_5_vl_moe import Ernie4_5_VLMoeModel
from transformers.models.glm4v_moe.modeling_glm4v_moe import Glm4vMoeModel
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

from components.fusion.feature_counts import FeatureCountError
from components.fusion.grid_positions import GridItems, grid_positions
from composer.edges.position import Grids

IMAGE, VIDEO = 90, 91
VISION = SimpleNamespace(spatial_merge_size=2, tokens_per_second=2, temporal_merge_size=2)
PICTURES = torch.tensor([[1, 4, 6], [1, 2, 4], [1, 6, 2]])
CLIPS = torch.tensor([[4, 4, 2], [2, 2, 6]])
SECONDS = torch.tensor([0.75, 2.0])


def theirs(model, ids, mask, **more):
    own = SimpleNamespace(
        config=SimpleNamespace(vision_config=VISION),
        get_vision_position_ids=partial(model.get_vision_position_ids, None),
    )
    types = (ids == IMAGE).int() + 2 * (ids == VIDEO).int()
    return model.get_rope_index(
        own,
        input_ids=ids,
        mm_token_type_ids=types,
        image_grid_thw=PICTURES.clone(),
        video_grid_thw=CLIPS.clone(),
        attention_mask=mask,
        **more,
    )[0]


def items(rule, seconds=None):
    return [
        GridItems("image", IMAGE, Grids("image_grid", 2), PICTURES),
        GridItems("video", VIDEO, rule, CLIPS, seconds),
    ]


def rows(clips):
    """Two rows, the second padded in front, the first behind: pictures and clips between text."""
    first = [3, *[IMAGE] * 6, 4, 5, *[IMAGE] * 2, 6, *clips[0]]
    second = [*clips[1], 7, *[IMAGE] * 3, 8, 9]
    length = max(len(first), len(second)) + 2
    mask = torch.zeros(2, length, dtype=torch.bool)
    mask[0, : len(first)] = mask[1, length - len(second) :] = True
    ids = torch.full((2, length), 9)
    ids[mask] = torch.tensor(first + second)
    return ids, mask.long()


TOGETHER = [[VIDEO] * 8, [VIDEO] * 6]
APART = [[*[VIDEO] * 2, 9] * 4, [*[VIDEO] * 3, 9] * 2]
FEWER = [[VIDEO] * 4, [VIDEO] * 3]
FORMS = {
    "seconds between frames": (
        Qwen2_5_VLModel,
        TOGETHER,
        Grids("clips", 2, time_step=2.0, seconds_in="seconds"),
        {"second_per_grid_ts": SECONDS},
    ),
    "every frame apart": (Qwen3VLModel, APART, Grids("clips", 2, frames="apart"), {}),
    "every frame apart, in another family": (Glm4vMoeModel, APART, Grids("clips", 2, frames="apart"), {}),
    "frames merged": (Ernie4_5_VLMoeModel, FEWER, Grids("clips", 2, merge_frames=2), {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_positions_are_transformers_own(form):
    model, clips, rule, more = FORMS[form]
    ids, mask = rows(clips)
    ours = grid_positions(ids, mask, None, items(rule, SECONDS if more else None))
    assert torch.equal(ours, theirs(model, ids, mask, **more))


def test_documents_of_a_packed_row_begin_anew():
    ids, mask = rows(TOGETHER)
    rule = Grids("clips", 2)
    alone = grid_positions(ids, mask, None, items(rule))
    documents = [ids[row][mask[row].bool()] for row in range(2)]
    borders = torch.tensor([0, len(documents[0]), sum(map(len, documents))])
    packed = torch.cat([*documents, torch.tensor([3, 3])])[None]
    ours = grid_positions(packed, None, borders, items(rule))
    expected = torch.cat([alone[:, row][:, mask[row].bool()] for row in range(2)], dim=1)
    assert torch.equal(ours[:, 0, :-2], expected)
    assert ours[:, 0, -2:].tolist() == [[0, 1]] * 3


def test_pictures_may_adjoin_and_text_goes_on_behind_the_longer_side():
    ids = torch.tensor([[3, *[IMAGE] * 8, 4]])
    own = [GridItems("image", IMAGE, Grids("image_grid", 2), torch.tensor([[1, 4, 6], [1, 2, 4]]))]
    positions = grid_positions(ids, None, None, own, offset=10)
    assert positions[0, 0].tolist() == [10, *[11] * 6, 14, 14, 16]
    assert positions[1, 0].tolist() == [10, 11, 11, 11, 12, 12, 12, 14, 14, 16]
    assert positions[2, 0].tolist() == [10, 11, 12, 13, 11, 12, 13, 14, 15, 16]


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([3, *[IMAGE] * 5, 4], "sample 0: 5 image placeholders in a stretch, but the next grid fills 6"),
        ([3, *[IMAGE] * 6, 4, IMAGE], "sample 0: 1 image placeholders, but no more image grids"),
        ([3, 4], "there are grids of more image items than placeholders for them"),
    ],
)
def test_grids_that_do_not_fit_are_refused(ids, said):
    own = [GridItems("image", IMAGE, Grids("image_grid", 2), torch.tensor([[1, 4, 6]]))]
    with pytest.raises(FeatureCountError, match=said):
        grid_positions(torch.tensor([ids]), None, None, own)
