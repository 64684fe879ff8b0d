"""Conversations as ids: what is learned, and how often a picture's placeholder stands there."""

import pytest
from tokenizers import Tokenizer

from adapters.quickstart.tokenizer import SPECIAL, train_tokenizer
from adapters.training.encoding import ChatEncoder
from adapters.training.problems import DataError, TrainingError
from adapters.training.samples import Turn
from adapters.training.settings import ChatTemplate

IMAGE = SPECIAL.index("<image>")
TEMPLATE = ChatTemplate(assistant="says: ", image="<image_begins>{placeholders}<image_ends>")
TALK = (Turn("user", "<image>Read."), Turn("assistant", "12"), Turn("user", "And <image>?"), Turn("assistant", "345"))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["Read.\n", "And ?\n"], 300)


def encoder(tokenizer: Tokenizer, template: ChatTemplate = TEMPLATE, vocab_size: int = 320) -> ChatEncoder:
    return ChatEncoder(tokenizer, template, IMAGE, vocab_size)


def text_of(tokenizer: Tokenizer, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False).replace(" ", "")


def test_answers_and_their_end_are_learned_and_nothing_else(tokenizer: Tokenizer) -> None:
    encoded = encoder(tokenizer).encode(TALK, [2, 3], "here")
    learned = [token for token, flag in zip(encoded.ids, encoded.learned, strict=True) if flag]
    assert text_of(tokenizer, learned) == "12<eos>345<eos>"
    assert len(learned) == 7  # one token per digit


def test_placeholders_stand_in_order_as_often_as_there_are_features(tokenizer: Tokenizer) -> None:
    encoded = encoder(tokenizer).encode(TALK, [2, 3], "here")
    words = text_of(tokenizer, list(encoded.ids))
    pictures = "<image_begins><image><image><image_ends>", "<image_begins><image><image><image><image_ends>"
    assert words == f"<bos>{pictures[0]}Read.\nsays:12<eos>And{pictures[1]}?\nsays:345<eos>".replace(" ", "")


def test_a_prompt_is_the_beginning_of_the_conversation_without_the_answer(tokenizer: Tokenizer) -> None:
    chat = encoder(tokenizer)
    prompt, whole = chat.encode_prompt(TALK, [2], "here"), chat.encode(TALK, [2, 3], "here")
    assert whole.ids[: len(prompt)] == prompt
    assert not any(whole.learned[: len(prompt)])
    assert whole.learned[len(prompt)]


def test_text_cannot_smuggle_in_a_placeholder(tokenizer: Tokenizer) -> None:
    turns = (Turn("user", "<image>Read."), Turn("assistant", "<image>"))
    with pytest.raises(DataError, match=r"^here: the text has 2 placeholder tokens <image> for 1 pictures"):
        encoder(tokenizer).encode(turns, [2], "here")


def test_decode_leaves_out_special_tokens(tokenizer: Tokenizer) -> None:
    chat = encoder(tokenizer)
    assert chat.decode(chat.encode((Turn("assistant", "07"),), [], "here").ids) == "says: 07"


def test_a_tokenizer_that_does_not_fit_says_all_reasons(tokenizer: Tokenizer) -> None:
    with pytest.raises(TrainingError) as caught:
        ChatEncoder(tokenizer, ChatTemplate(end=""), 100_000, 10)
    assert len(caught.value.problems) == 3
