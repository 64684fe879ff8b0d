"""Masks equal transformers' own mask functions, pair by pair, at every query that is not padding.

transformers' run mask needs `mm_token_type_ids` (1 image, 2 video): without it everything is causal, with no error.
"""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import Gemma4TextConfig, Llama4TextConfig
from transformers.masking_utils import create_causal_mask, create_chunked_causal_mask, create_sliding_window_causal_mask
from transformers.models.gemma4.modeling_gemma4 import (
    create_masks_for_vision_model,
    get_block_sequence_ids_for_mask,
)

from components.fusion.mask_dense import lower_dense
from components.fusion.mask_metadata import MetadataLayout
from composer.masks import And, Causal, Chunk, Or, SameRun, Window

TEXT, IMAGE, VIDEO, PAD = 7, 250, 251, 0
TOKENS = {"image": IMAGE, "video": VIDEO, "audio": 252}
IDS = {"t": TEXT, "i": IMAGE, "v": VIDEO, "p": PAD}

segment = st.tuples(st.sampled_from("ttiiv"), st.integers(1, 11))
row = st.lists(segment, min_size=1, max_size=6).map(lambda parts: "".join(kind * size for kind, size in parts))
rows = st.lists(st.tuples(row, st.booleans()), min_size=1, max_size=3)


def batch(rows: list[tuple[str, bool]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of letters, each padded to the longest on its left (True) or right, as (input_ids, attention_mask)."""
    length = max(len(text) for text, _ in rows)
    padded = [text.rjust(length, "p") if left else text.ljust(length, "p") for text, left in rows]
    input_ids = torch.tensor([[IDS[letter] for letter in text] for text in padded])
    return input_ids, input_ids != PAD


def oracle(input_ids: torch.Tensor, attention_mask: torch.Tensor, window: int) -> dict[str, torch.Tensor]:
    """[B, 1, S, S] bool of each layer kind, True where transformers allows attention."""
    config = Gemma4TextConfig(num_hidden_layers=2, sliding_window=window)
    config._attn_implementation = "eager"
    types = (input_ids == IMAGE).long() + 2 * (input_ids == VIDEO).long()
    masks = create_masks_for_vision_model(
        config=config,
        inputs_embeds=torch.zeros(*input_ids.shape, 1),
        attention_mask=attention_mask,
        past_key_values=None,
        position_ids=torch.arange(input_ids.shape[1])[None],
        block_sequence_ids=get_block_sequence_ids_for_mask(types, device=input_ids.device),
    )
    return {kind: mask == 0 for kind, mask in masks.items()}


def ours(rule, input_ids, attention_mask=None, cu_seqlens=None) -> torch.Tensor:
    layout = MetadataLayout.for_rules([rule], TOKENS)
    return lower_dense(rule, layout, layout.build(input_ids, attention_mask, cu_seqlens))


def gemma4_rules(window: int) -> dict:
    run = SameRun(tokens=("image", "video"))
    return {
        "full_attention": Causal(),
        "sliding_attention": And(left=Or(left=Causal(), right=run), right=Window(size=window)),
    }


@settings(max_examples=400, deadline=None)
@given(rows, st.integers(1, 9))
@example([("tttt", False)], 3)  # no image
@example([("iii", False)], 9)  # image first and last
@example([("tiittiiit", False)], 4)  # several
@example([("tiivviit", False)], 4)  # adjacent images and a video are one run
@example([("t" + "i" * 11 + "t", False)], 3)  # longer than the window
@example([("iit", True), ("tttiiii", False)], 3)  # padding left
@example([("tii", False), ("tttiiii", False)], 3)  # padding right
@example([("tvvvvvt", False)], 2)  # video
def test_image_runs_equal_transformers(rows, window):
    input_ids, attention_mask = batch(rows)
    expected = oracle(input_ids, attention_mask, window)
    for kind, rule in gemma4_rules(window).items():
        allowed = ours(rule, input_ids, attention_mask)
        assert torch.equal(allowed[:, 0][attention_mask], expected[kind][:, 0][attention_mask]), kind


def test_the_oracle_does_show_image_runs():
    """Against an oracle that is causal everywhere the test above would prove nothing."""
    input_ids, attention_mask = batch([("tiiit", False)])
    expected = oracle(input_ids, attention_mask, window=9)
    assert expected["sliding_attention"][0, 0, 1, 3]
    assert not expected["full_attention"][0, 0, 1, 3]


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(1, 9))
def test_chunks_equal_transformers_and_start_at_the_first_token(rows, size):
    input_ids, attention_mask = batch(rows)
    config = Llama4TextConfig(num_hidden_layers=1, attention_chunk_size=size, layer_types=["chunked_attention"])
    config._attn_implementation = "eager"
    expected = create_chunked_causal_mask(config, torch.zeros(*input_ids.shape, 1), attention_mask, None)
    allowed = ours(And(left=Causal(), right=Chunk(size=size)), input_ids, attention_mask)
    assert torch.equal(allowed[:, 0][attention_mask], (expected == 0)[:, 0][attention_mask])


@settings(max_examples=60, deadline=None)
@given(st.lists(row, min_size=1, max_size=4), st.integers(1, 9))
def test_packed_documents_equal_transformers(documents, window):
    """transformers packs where position ids restart and no attention mask is given."""
    input_ids, _ = batch([("".join(documents), False)])
    lengths = [len(document) for document in documents]
    config = Gemma4TextConfig(num_hidden_layers=2, sliding_window=window)
    config._attn_implementation = "eager"
    arguments = {
        "config": config,
        "inputs_embeds": torch.zeros(*input_ids.shape, 1),
        "attention_mask": None,
        "past_key_values": None,
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
    }
    cu_seqlens = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    allowed = ours(Causal(), input_ids, cu_seqlens=cu_seqlens)
    assert torch.equal(allowed, create_causal_mask(**arguments) == 0)
    allowed = ours(And(left=Causal(), right=Window(size=window)), input_ids, cu_seqlens=cu_seqlens)
    assert torch.equal(allowed, create_sliding_window_causal_mask(**arguments) == 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(row, min_size=1, max_size=4), st.integers(1, 9))
def test_packed_documents_are_each_document_alone(documents, window):
    """Runs too: an image that ends one document and one that starts the next do not see each other."""
    cu_seqlens = torch.tensor([0, *(len(document) for document in documents)]).cumsum(0)
    packed, _ = batch([("".join(documents), False)])
    for rule in gemma4_rules(window).values():
        alone = [ours(rule, batch([(document, False)])[0])[0, 0] for document in documents]
        assert torch.equal(ours(rule, packed, cu_seqlens=cu_seqlens)[0, 0], torch.block_diag(*alone).bool())


@pytest.mark.parametrize("kind", ["full_attention", "sliding_attention"])
def test_query_rows_are_the_rows_of_the_whole_mask(kind):
    input_ids, attention_mask = batch([("ttiiiiitt", False), ("tiit", True)])
    rule = gemma4_rules(3)[kind]
    layout = MetadataLayout.for_rules([rule], TOKENS)
    metadata = layout.build(input_ids, attention_mask)
    whole = lower_dense(rule, layout, metadata)
    for start in range(0, 9, 4):
        part = lower_dense(rule, layout, metadata, query_rows=slice(start, start + 4))
        assert torch.equal(part, whole[:, :, start : start + 4])
