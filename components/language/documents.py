"""Documents of a packed row one below another, for what goes along the tokens and must start anew at each.

Legend: B batch, S sequence, F metadata fields, D documents, L tokens of the longest.
"""

from typing import Any

import torch
from attrs import frozen
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from components.fusion.mask_metadata import Field


@frozen(eq=False)
class Documents:
    """Where documents lie in a row. `borders` [D + 1] int64: the first token of each, and the end of the last."""

    borders: Tensor
    lengths: tuple[int, ...]

    def apart(self, row: Tensor) -> Tensor:
        """[1, S, ...] to [D, L, ...], zeros behind the shorter ones."""
        return torch.nn.utils.rnn.pad_sequence(list(row[0].split(self.lengths)), batch_first=True)

    def together(self, documents: Tensor) -> Tensor:
        """[D, L, ...] to [1, S, ...]: what `apart` was given."""
        pieces = [each[:length] for each, length in zip(documents, self.lengths, strict=True)]
        return torch.cat(pieces)[None]


class PackedDocuments:
    """Document borders by metadata tensor: layers that share this object find them once per batch."""

    def __init__(self) -> None:
        self._known: Any = WeakTensorKeyDictionary()

    def find(self, metadata: Tensor, positions: Tensor | None = None) -> Documents | None:
        """Documents of a packed row; None where every row is one document.

        Costs one transfer to the host per batch, and none where the batch has several rows: those are never packed.

        Args:
            metadata: [B, F, S] int32.
            positions: [S] int64, where each column of the metadata belongs in the sequence; None: in order.
        """
        if metadata.shape[0] > 1:
            return None
        if metadata not in self._known:
            self._known[metadata] = _find(metadata, positions)
        found: Documents | None = self._known[metadata]
        return found


def _find(metadata: Tensor, positions: Tensor | None) -> Documents | None:
    document = metadata[0, Field.DOCUMENT]
    if positions is not None:
        document = torch.empty_like(document).index_copy(0, positions, document)
    starts = (document[1:] != document[:-1]).nonzero().flatten() + 1
    ends = [*starts.tolist(), document.shape[0]]
    if len(ends) == 1:
        return None
    lengths = tuple(end - start for start, end in zip([0, *ends], ends, strict=False))
    return Documents(torch.tensor([0, *ends], device=document.device), lengths)
