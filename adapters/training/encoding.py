"""Conversations as token ids: the chat template, placeholders, and which tokens are learned."""

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen
from tokenizers import Tokenizer

from adapters.training.problems import DataError, TrainingError
from adapters.training.samples import IMAGE_MARK, Turn
from adapters.training.settings import ChatTemplate

TOKENIZER = "tokenizer.json"


@frozen
class Encoded:
    """ids: token ids; learned: for each, whether the model must predict it; both of the same length."""

    ids: tuple[int, ...]
    learned: tuple[bool, ...]


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read `tokenizer.json`, the format of the tokenizers library and of every checkpoint's fast tokenizer.

    Raises:
        TrainingError: there is none, or it is not of this format.
    """
    path = folder / TOKENIZER
    if not path.is_file():
        raise TrainingError(f"{path}: no such file. Put the checkpoint's tokenizer.json there.")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise TrainingError(f"{path}: not a tokenizer of the tokenizers library: {error}") from error


class ChatEncoder:
    """Renders conversations with a template and encodes each as one text, so that training sees what inference sees."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate, image_id: int, vocab_size: int) -> None:
        """image_id: the placeholder token's id in the spec; vocab_size: rows of the decoder's embedding table.

        Raises:
            TrainingError: the tokenizer does not fit the template or the decoder.
        """
        self.tokenizer = tokenizer
        self.template = template
        self.image_id = image_id
        image_token: str | None = tokenizer.id_to_token(image_id)
        problems = []
        if image_token is None:
            problems.append(f"tokenizer: has no token {image_id}, the spec's image placeholder.")
        largest = max(tokenizer.get_vocab(with_added_tokens=True).values())
        if largest >= vocab_size:
            problems.append(f"tokenizer: has token {largest}, but the decoder's vocabulary ends at {vocab_size - 1}.")
        end = tokenizer.encode(template.end, add_special_tokens=False).ids
        if not end:
            problems.append(f"chat.end: {template.end!r} encodes to no token: generation could not stop.")
        if problems:
            raise TrainingError(problems)
        self.image_token, self.end_id = image_token or "", end[0]

    def encode(self, turns: Sequence[Turn], features: Sequence[int], where: str) -> Encoded:
        """A whole conversation; answers and what ends them are learned.

        Args:
            turns: the conversation.
            features: feature rows of each picture, in the order of their marks.
            where: what to call the sample in an error.

        Raises:
            DataError: the text holds the placeholder token itself.
        """
        text, spans = self.render(turns)
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        learned = _inside(encoding.offsets, spans)
        return self._expand(encoding.ids, learned, features, where)

    def encode_prompt(self, turns: Sequence[Turn], features: Sequence[int], where: str) -> tuple[int, ...]:
        """What the model is given before it answers: the turns up to the first answer, and what introduces it."""
        first = next((index for index, turn in enumerate(turns) if turn.role == "assistant"), len(turns))
        text, _ = self.render(turns[:first])
        encoding = self.tokenizer.encode(text + self.template.assistant, add_special_tokens=False)
        return self._expand(encoding.ids, [False] * len(encoding.ids), features, where).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Generated ids as text, special tokens left out."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True).strip()

    def render(self, turns: Sequence[Turn]) -> tuple[str, list[tuple[int, int]]]:
        """The conversation as one text, one placeholder token a picture, and the character spans that are learned."""
        template = self.template
        image = template.image.replace("{placeholders}", self.image_token)
        text, spans = template.begin, []
        for turn in turns:
            if turn.role == "assistant":
                text += template.assistant
                spans.append((len(text), len(text) + len(turn.text) + len(template.end)))
                text += turn.text + template.end
            else:
                form = template.user if turn.role == "user" else template.system
                text += form.replace("{text}", turn.text.replace(IMAGE_MARK, image))
        return text, spans

    def _expand(self, ids: Sequence[int], learned: Sequence[bool], features: Sequence[int], where: str) -> Encoded:
        """Repeat each picture's placeholder as often as it has feature rows."""
        found = sum(1 for token in ids if token == self.image_id)
        if found != len(features):
            raise DataError(
                f"{where}: the text has {found} placeholder tokens {self.image_token} for {len(features)} pictures; "
                f"write {IMAGE_MARK} where a picture goes, and the token nowhere."
            )
        counts = iter(features)
        repeats = [next(counts) if token == self.image_id else 1 for token in ids]
        return Encoded(
            tuple(token for token, repeat in zip(ids, repeats, strict=True) for _ in range(repeat)),
            tuple(flag for flag, repeat in zip(learned, repeats, strict=True) for _ in range(repeat)),
        )


def _inside(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """For each token, whether it starts within one of the spans (both in order of position)."""
    inside, current = [], 0
    for start, _ in offsets:
        while current < len(spans) and start >= spans[current][1]:
            current += 1
        inside.append(current < len(spans) and start >= spans[current][0])
    return inside
