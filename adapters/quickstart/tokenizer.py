"""A small tokenizer, trained on the spot: special tokens, bytes, and the words of the prompts."""

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<image>",
    "<image_begins>",
    "<image_ends>",
    "<video>",
    "<audio>",
    "<audio_begins>",
    "<audio_ends>",
)


def train_tokenizer(texts: Iterable[str], vocab_size: int, special: Sequence[str] = SPECIAL) -> Tokenizer:
    """A byte-level BPE with one token per digit, so that numbers are read as they are written.

    The special tokens come first: a token's id is its place in `special`. Any text can be encoded.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
