"""Whole pictures, against what transformers does to them; which specs they can be prepared for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

import adapters.megatron
from adapters.quickstart.tokenizer import train_tokenizer
from adapters.training.grown_tokenizer import grow_tokenizer
from adapters.training.picture_inputs import feature_rows, picture_grid, picture_problem
from adapters.training.problems import DataError, TrainingError
from adapters.training.settings import PictureSettings, Stage, Training
from adapters.training.settings_file import parse_settings, settings_text
from adapters.training.whole_pictures import PixelGrid
from composer import SpecError, load
from tests.composer.specs import SHIPPED
from tests.several_towers import ROWS, two_vision_towers

SPECS = {path.stem: path for path in SHIPPED}
SETTINGS = Training(stages=(Stage("all", 1, ("all",)),))


def picture(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def grid(**settings) -> PixelGrid:
    return PixelGrid(24, 24, 9, PictureSettings(**settings))


@pytest.mark.parametrize("size", [(24, 24), (64, 32), (10, 50)])
def test_pixels_are_those_of_transformers(size):
    processor = SiglipImageProcessorPil(size={"height": 24, "width": 24}, resample=Image.Resampling.BICUBIC)
    expected = processor(picture(*size), return_tensors="np")["pixel_values"][0]
    found = grid().cut(picture(*size))
    assert found.values.dtype == np.float32
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-6)


def test_colours_are_normalised_by_the_settings():
    red = Image.new("RGB", (24, 24), (255, 0, 0))
    found = grid(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0)).cut(red).values
    np.testing.assert_allclose(found[:, 5, 5], [1.0, -1.0, 0.0], atol=1e-6)


def test_padding_keeps_the_shape_and_is_the_mean():
    found = grid(fit="pad").cut(Image.new("RGB", (48, 24), (255, 255, 255))).values
    np.testing.assert_allclose(found[:, 6:18], 1.0, atol=1e-6)
    np.testing.assert_allclose(found[:, :6], 0.0, atol=0.01)  # the mean, in whole steps of 1/255
    np.testing.assert_allclose(found[:, 18:], 0.0, atol=0.01)


def test_stacked_in_order_and_nothing_of_nothing():
    two = [grid().cut(picture(24, 24)), grid().cut(picture(25, 24))]
    stacked = grid().stack(two)
    assert stacked.keys() == {"pixel_values"}
    assert stacked["pixel_values"].shape == (2, 3, 24, 24)
    assert torch.equal(stacked["pixel_values"][1], torch.from_numpy(two[1].values))
    assert grid().stack([]) == {}


def test_every_picture_has_as_many_rows(tmp_path: Path):
    picture(30, 20).save(tmp_path / "a.png")
    assert grid().read(tmp_path / "a.png", "x:1").features == 9
    assert grid().count_features(tmp_path / "a.png", "x:1") == 9
    with pytest.raises(DataError, match="x:1: no picture"):
        grid().read(tmp_path / "b.png", "x:1")


@pytest.mark.parametrize(
    ("name", "overrides", "rows"),
    [
        ("compose_your_own", (), (384 // 14) ** 2),
        ("llava", (), (336 // 14) ** 2),
        ("internvl", (), (448 // 14 // 2) ** 2),
    ],
)
def test_rows_of_shipped_towers_are_counted_without_their_weights(name, overrides, rows):
    graph = load(SPECS[name], overrides=overrides)
    assert picture_problem(graph) is None
    assert feature_rows(graph) == rows
    assert picture_grid(graph, SETTINGS).features == rows


def test_rows_of_two_towers_side_by_side_are_those_the_model_makes():
    graph = two_vision_towers()
    assert feature_rows(graph) == ROWS
    model = adapters.megatron.build(graph)
    assert model.get_image_features(torch.rand(1, 3, 16, 16)).shape[0] == ROWS


def test_pictures_of_any_size_are_refused():
    problem = picture_problem(load(SPECS["mistral3"]))
    assert problem is not None
    assert "or whole and of one size (pixel_values [image, 3, height, width], numbers)" in problem


def test_settings_are_checked_and_read_back():
    settings = Training(stages=SETTINGS.stages, pictures=PictureSettings(fit="pad", mean=(0.1, 0.2, 0.3)))
    assert parse_settings(settings_text(settings), "x") == settings
    for wrong, message in (("mean: [0.5]", "three numbers"), ("std: [0.5, 0.0, 0.5]", "is not positive")):
        with pytest.raises(SpecError, match=message):
            parse_settings(f"stages: [{{name: a, steps: 1, trains: [all]}}]\npictures: {{{wrong}}}", "x")


def test_new_tokens_get_the_ids_of_the_spec():
    """The text model has 300 rows, the tokenizer fewer tokens; the first new id is 300."""
    graph = load(SPECS["compose_your_own"], overrides=["hf.image_token_index=300", "hf.text_config.vocab_size=320"])
    tokenizer = train_tokenizer(["Read the number."], 280, ("<pad>", "<eos>", "<bos>"))
    before = tokenizer.get_vocab_size()
    assert before < 300
    grow_tokenizer(tokenizer, graph)
    assert tokenizer.token_to_id("<image>") == 300
    assert tokenizer.get_vocab_size() == 301
    assert tokenizer.encode("a<image>b", add_special_tokens=False).ids.count(300) == 1
    grow_tokenizer(tokenizer, graph)
    assert tokenizer.get_vocab_size() == 301


def test_a_word_that_is_another_token_is_refused():
    graph = load(SPECS["compose_your_own"], overrides=["hf.image_token_index=300"])
    tokenizer = Tokenizer(models.WordLevel({"<image>": 0}, unk_token="<image>"))
    with pytest.raises(TrainingError, match="<image> is token 0; the spec adds it as 300"):
        grow_tokenizer(tokenizer, graph)
