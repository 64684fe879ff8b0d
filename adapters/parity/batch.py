"""A small batch that reaches every rule of the wiring: several pictures, adjacent ones, a long one, padding."""

from typing import TYPE_CHECKING, Any

import torch
from attrs import asdict, frozen
from torch import Tensor

from adapters.parity.pictures import BatchError, make_pictures
from adapters.parity.tiny import FIRST_SPECIAL_TOKEN
from composer.edges import MaskEdge, ScatterEdge
from composer.masks import Prefix, leaves

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from composer import Graph

FIRST_TEXT_TOKEN = 3
# Each row: numbers of text tokens, and pictures by size in pooled patches (height, width). The first picture is longer
# than the window, the next two adjoin; a picture opens the second row and closes the last. Rows differ in length.
ROWS: tuple[tuple[int | tuple[int, int], ...], ...] = (
    (3, (3, 4), 2, (1, 2), (1, 3), 6),
    ((2, 2), 7),
    (5, (2, 3)),
)
PAD_LEFT = (False, False, True)


@frozen
class Batch:
    """Inputs of one step. B rows of S tokens; all images of the batch behind one another, in row order."""

    input_ids: Tensor  # [B, S] int64
    attention_mask: Tensor  # [B, S] bool, True at real tokens
    features: dict[str, Tensor]  # the spec's other inputs by name
    token_types: Tensor  # [B, S] int64: 1 image, 2 video, 0 other; where rules have prefixes, 0 prefix, 1 behind it
    labels: Tensor  # [B, S] int64, already shifted: the next token
    loss_mask: Tensor  # [B, S] bool, True where the next token is real text
    images_per_sample: Tensor  # [B] int64

    def to(self, device: torch.device) -> "Batch":
        """The same batch there."""
        moved = {name: value.to(device) for name, value in asdict(self, recurse=False).items() if name != "features"}
        return Batch(features={name: value.to(device) for name, value in self.features.items()}, **moved)


def make_batch(graph: "Graph", oracle: "PreTrainedModel", seed: int = 0) -> Batch:
    """Make the batch that `ROWS` describes for the spec's inputs.

    How many feature rows, and so placeholders, a picture has is asked of the oracle. Where text may interrupt a
    picture, a word of text follows each of its lines.

    Raises:
        BatchError: no pictures can be made for the spec's inputs, or the oracle has no `get_image_features`.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = [part for row in ROWS for part in row if isinstance(part, tuple)]
    features = make_pictures(graph, sizes, generator)
    counts = iter(_feature_rows(oracle, features))
    image = graph.tokens["image"]
    broken = any(isinstance(edge, ScatterEdge) and edge.interrupted for edge in graph.edges)
    rows = [
        [
            token
            for part in row
            for token in (
                _picture(part, next(counts), image, broken=broken) if isinstance(part, tuple) else [-1] * part
            )
        ]
        for row in ROWS
    ]
    length = max(map(len, rows))
    taken = set(graph.tokens.values())
    text_tokens = torch.tensor([token for token in range(FIRST_TEXT_TOKEN, FIRST_SPECIAL_TOKEN) if token not in taken])
    ids = text_tokens[torch.randint(len(text_tokens), (len(rows), length), generator=generator)]
    valid = torch.zeros(len(rows), length, dtype=torch.bool)
    separators = prefix_tokens(graph)
    for number, row in enumerate(rows):
        start = length - len(row) if PAD_LEFT[number] else 0
        here = slice(start, start + len(row))
        valid[number, here] = True
        fixed = torch.tensor(_separated(row, separators))
        ids[number, here] = torch.where(fixed >= 0, fixed, ids[number, here])
    ids[~valid] = 0
    return _batch(ids, valid, features, image, separators)


def prefix_tokens(graph: "Graph") -> tuple[int, ...]:
    """Ids of the tokens that end a prefix by some mask rule."""
    rules = [rule for edge in graph.edges if isinstance(edge, MaskEdge) for rule in edge.rules.values()]
    names = {leaf.token for rule in rules for leaf in leaves(rule) if isinstance(leaf, Prefix)}
    return tuple(sorted(graph.tokens[name] for name in names))


def _separated(row: list[int], separators: tuple[int, ...]) -> list[int]:
    """A row with every separator twice in its closing text, if it has one, and once in its first."""
    closing = next((place for place in range(len(row), 0, -1) if row[place - 1] >= 0), 0)
    row = list(row)
    for number, token in enumerate(separators):
        for place in (0, closing + 2 * number, closing + 2 * number + 2):
            if place < len(row) and row[place] < 0 and closing < len(row):
                row[place] = token
    return row


def _batch(ids: Tensor, valid: Tensor, features: dict[str, Tensor], image: int, separators: tuple[int, ...]) -> Batch:
    pictured = ids == image
    types = _suffixes(ids, separators) if separators else pictured.long()
    labels, text = torch.zeros_like(ids), torch.zeros_like(valid)
    labels[:, :-1] = ids[:, 1:]
    text[:, :-1] = valid[:, :-1] & valid[:, 1:] & ~pictured[:, 1:]
    per_sample = [sum(isinstance(part, tuple) for part in row) for row in ROWS]
    return Batch(ids, valid, features, types, labels * text, text, torch.tensor(per_sample))


def _suffixes(ids: Tensor, separators: tuple[int, ...]) -> Tensor:
    """[B, S] int64: 0 up to and with a row's last separator, 1 behind it, and everywhere in a row without one."""
    marks = torch.isin(ids, torch.tensor(separators)).long()
    return (marks.flip(-1).cumsum(-1).flip(-1) == 0).long()


def _picture(size: tuple[int, int], rows: int, image: int, *, broken: bool) -> list[int]:
    """Placeholders of one picture; -1 is text."""
    return ([image] * size[1] + [-1]) * size[0] if broken else [image] * rows


@torch.no_grad()
def _feature_rows(oracle: "PreTrainedModel", features: dict[str, Tensor]) -> list[int]:
    return [len(rows) for rows in image_encoder(oracle)(**features).pooler_output]


def image_encoder(oracle: "PreTrainedModel") -> Any:
    """The method of transformers' model, or of the one below its output layer, that makes feature rows of pictures.

    Raises:
        BatchError: there is none.
    """
    for model in (oracle, oracle.base_model):
        if (method := getattr(model, "get_image_features", None)) is not None:
            return method
    raise BatchError(f"{type(oracle).__name__} has no get_image_features: the rows of a picture are unknown")
