"""What an attention mask rule needs to know about each token: a few integers, never a table of pairs.

Legend: B batch, S sequence, F fields, D documents.
"""

from collections.abc import Iterable, Mapping
from enum import IntEnum

import torch
from attrs import field, frozen
from torch import Tensor

from components.fusion.inject import row_numbers
from composer.masks import Prefix, Rule, SameRun, leaves

OUTSIDE = -1


class Field(IntEnum):
    """Rows of the metadata that every layout has; run fields, then prefix fields, follow from `FIRST_RUN` on."""

    POSITION = 0
    """Index in the token's document; leading padding counts backwards from -1, so chunks start at the first token."""
    DOCUMENT = 1
    """Document of the token, from 0; padding behind the last packed document counts as one document more."""
    VALID = 2
    """1 at real tokens, 0 at padding."""
    FIRST_RUN = 3
    """Run of the token, from 0 in each row of the batch, or -1 outside of runs."""


@frozen
class MetadataLayout:
    """Which integers the rules of a model need per token; made once, when the model is compiled."""

    runs: tuple[tuple[int, ...], ...] = ()
    """One run field for each distinct set of token ids, each sorted."""
    prefixes: tuple[int, ...] = ()
    """One prefix field for each distinct token id."""
    tokens: Mapping[str, int] = field(factory=dict, eq=False)
    """Token id by the name that rules use."""
    injected: tuple[tuple[int, ...], ...] = ()
    """Token ids of the placeholders of each block of rows that is added between layers: one field for all."""
    sets: tuple[tuple[int, ...], ...] = ()
    """Token ids of each group that layers treat apart: one field for all, 0 at other tokens, then 1, 2, ..."""

    @classmethod
    def for_rules(
        cls,
        rules: Iterable[Rule],
        tokens: Mapping[str, int],
        injected: Iterable[Iterable[str]] = (),
        sets: Iterable[Iterable[str]] = (),
    ) -> "MetadataLayout":
        """Collect what `rules` ask for, and inject edges, whose token names `injected` has, and groups of tokens.

        Raises:
            ValueError: a rule names a token that `tokens` does not have.
        """
        empty = cls(tokens=dict(tokens))
        runs: dict[tuple[int, ...], None] = {}
        prefixes: dict[int, None] = {}
        for leaf in (leaf for rule in rules for leaf in leaves(rule)):
            if isinstance(leaf, SameRun):
                runs[empty.run_ids(leaf)] = None
            elif isinstance(leaf, Prefix):
                prefixes[empty.token_id(leaf.token)] = None
        blocks = tuple(tuple(empty.token_id(name) for name in names) for names in injected)
        groups = tuple(tuple(empty.token_id(name) for name in names) for names in sets)
        return cls(tuple(runs), tuple(prefixes), empty.tokens, blocks, groups)

    @property
    def num_fields(self) -> int:
        return self.row_field + bool(self.injected)

    @property
    def set_field(self) -> int:
        """Number of the token's group."""
        return Field.FIRST_RUN + len(self.runs) + len(self.prefixes)

    @property
    def row_field(self) -> int:
        """Number of the token's feature row in its chunk, or -1; see `components.fusion.inject`."""
        return self.set_field + bool(self.sets)

    @property
    def asks_tokens(self) -> tuple[str, ...]:
        """What depends on `input_ids`, and not only on padding and document borders, in words."""
        asking = {
            "mask rules": self.runs or self.prefixes,
            "levels between layers": self.injected,
            "sets of experts": self.sets,
        }
        return tuple(words for words, found in asking.items() if found)

    def token_id(self, name: str) -> int:
        if name not in self.tokens:
            raise ValueError(
                f"mask rule names token {name!r}; known tokens: {', '.join(sorted(self.tokens)) or 'none'}"
            )
        return self.tokens[name]

    def run_ids(self, rule: SameRun) -> tuple[int, ...]:
        return tuple(sorted({self.token_id(name) for name in rule.tokens}))

    def run_field(self, rule: SameRun) -> int:
        return Field.FIRST_RUN + self.runs.index(self.run_ids(rule))

    def prefix_field(self, rule: Prefix) -> int:
        return Field.FIRST_RUN + len(self.runs) + self.prefixes.index(self.token_id(rule.token))

    def build(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        rank_order: Tensor | None = None,
        chunks: int = 1,
    ) -> Tensor:
        """Metadata of one batch.

        Runs follow token ids alone: padding does not end a run, a document border does. Padding behind the last
        document of a packed row is never valid.

        Args:
            input_ids: [B, S] int64.
            attention_mask: [B, S] bool, True at real tokens; None: all are real.
            cu_seqlens: [D + 1] int, first token of each packed document and the end of the last; needs B = 1.
            rank_order: [S] int64, the order in which tokens are wanted; None: as they are. Made of whole sequences all
                the same: a stretch of placeholders may begin on another rank.
            chunks: how many ranks share a sequence in that order.

        Returns:
            [B, F, S] int32 on the device of `input_ids`; see `Field`.

        Raises:
            ValueError: `attention_mask` is not [B, S], `cu_seqlens` is given with B > 1, or S cannot be shared.
        """
        batch, length = input_ids.shape
        if attention_mask is not None and attention_mask.shape != input_ids.shape:
            given = list(attention_mask.shape)
            raise ValueError(f"attention_mask is {given}, it must be [{batch}, {length}]: True at real tokens")
        valid = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        index = torch.arange(length, device=input_ids.device).expand(batch, length)
        if cu_seqlens is None:
            document = torch.zeros_like(index)
            leading = (valid.cumsum(-1) == 0).sum(-1, keepdim=True)
            # A row without any real token has no first one to count from.
            start = torch.where(leading == length, 0, leading)
        else:
            if batch != 1:
                raise ValueError(f"packed documents need a batch of 1, not {batch}")
            document = torch.bucketize(index, cu_seqlens[1:].to(index), right=True)
            start = cu_seqlens.to(index)[document]
            valid = valid & (document < cu_seqlens.numel() - 1)
        rows = [index - start, document, valid]
        rows += [_run_ids(_is_any(input_ids, ids), document) for ids in self.runs]
        rows += [_prefix_ids(input_ids == token, document) for token in self.prefixes]
        if self.sets:
            numbers = [_is_any(input_ids, ids) * number for number, ids in enumerate(self.sets, start=1)]
            rows.append(torch.stack(numbers).sum(0))
        metadata = torch.stack([row.to(torch.int32) for row in rows], dim=1)
        metadata = metadata if rank_order is None else metadata[:, :, rank_order]
        if not self.injected:
            return metadata
        ordered = input_ids if rank_order is None else input_ids[:, rank_order]
        numbers = row_numbers([_is_any(ordered, ids) for ids in self.injected], chunks)
        return torch.cat([metadata, numbers[:, None].to(torch.int32)], dim=1)


def _is_any(input_ids: Tensor, ids: tuple[int, ...]) -> Tensor:
    """[B, S] bool. Compared one by one: `torch.isin` would copy the ids to the device on every call."""
    inside = torch.zeros_like(input_ids, dtype=torch.bool)
    for token in ids:
        inside = inside | (input_ids == token)
    return inside


def _run_ids(inside: Tensor, document: Tensor) -> Tensor:
    """[B, S] number of the maximal stretch of `inside` [B, S] that each token is in, or -1."""
    goes_on = torch.zeros_like(inside)
    goes_on[:, 1:] = inside[:, :-1] & (document[:, 1:] == document[:, :-1])
    run = (inside & ~goes_on).cumsum(-1) - 1
    return torch.where(inside, run, OUTSIDE)


def _prefix_ids(marks: Tensor, document: Tensor) -> Tensor:
    """[B, S] 0 from the start of a document up to and with its last marked token, -1 after it or without a mark."""
    beyond = torch.iinfo(document.dtype).max
    # Documents count upwards, so the smallest document of all later marks is that of the next one.
    document_of_next = torch.where(marks, document, beyond).flip(-1).cummin(-1).values.flip(-1)
    return torch.where(document_of_next == document, 0, OUTSIDE)
