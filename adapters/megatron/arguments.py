"""What a composed model may be called with: names, order, shapes; checked before anything is computed.

Legend: B batch, S sequence, H hidden, V vocabulary.
"""

from collections.abc import Mapping
from inspect import Parameter, Signature
from typing import Any

from attrs import frozen
from megatron.core.packed_seq_params import PackedSeqParams
from torch import Tensor

from adapters.megatron.call import Call, MissingInputError
from composer import Graph
from composer.edges.position import AXES

BEFORE = ("input_ids", "attention_mask", "position_ids", "inputs_embeds")
AFTER = ("labels", "runtime_gather_output", "packed_seq_params")


class ArgumentError(ValueError):
    """An argument of the wrong shape or kind."""


@frozen(eq=False)
class Arguments:
    """The arguments of one model: Megatron's own, with the spec's inputs in the middle."""

    inputs: tuple[str, ...]
    required: tuple[str, ...]
    """Spec inputs that are not optional, needed on the first pipeline stage."""
    counted: tuple[str, ...]
    """Placeholder tokens whose items may be counted per sample, `<token>s_per_sample`."""
    hidden_size: int
    vocab_size: int
    signature: Signature
    by_axes: bool = False
    """Whether layers rotate by time, height and width."""

    @classmethod
    def of(cls, graph: Graph, counted: tuple[str, ...], *, first_stage: bool) -> "Arguments":
        """Of a graph's model on one stage."""
        sizes = graph.decoder().config.config
        inputs = tuple(name for name in graph.inputs if name not in BEFORE)
        required = tuple(name for name in inputs if first_stage and not graph.inputs[name].optional)
        rotary = [port for port in graph.ports(graph.decoder().name).inputs.values() if port.type == "rotary"]
        by_axes = any(port.shape[0] == AXES for port in rotary)
        return cls(inputs, required, counted, sizes.hidden_size, sizes.vocab_size, _signature(inputs, counted), by_axes)

    def call(self, given: Mapping[str, Any]) -> Call:
        """The values of one forward.

        Raises:
            MissingInputError: no tokens and no embeddings, or an input of the spec that is not optional is absent.
            ArgumentError: a shape or kind that does not fit.
        """
        ids, embeds = given.get("input_ids"), given.get("inputs_embeds")
        known = ids if ids is not None else embeds
        if known is None:
            raise MissingInputError("neither input_ids nor inputs_embeds was given")
        if absent := [name for name in self.required if given.get(name) is None]:
            raise MissingInputError(f"{', '.join(absent)}: not given, and not optional in the spec")
        shape = (known.shape[0], known.shape[1])
        _check_shape("inputs_embeds", embeds, (*shape, self.hidden_size))
        self._check_positions(given.get("position_ids"), shape)
        for name in ("labels", "loss_mask"):
            _check_shape(name, given.get(name), shape)
        mask = given.get("attention_mask")
        _check_shape("attention_mask", mask, shape, ": True at real tokens")
        if mask is not None and mask.is_floating_point():
            raise ArgumentError(
                "attention_mask holds floats: it must be bool, True at real tokens, or integers 1 and 0"
            )
        self._check_labels(given.get("labels"))
        return Call(
            values={name: given.get(name) for name in self.inputs} | {"input_ids": ids},
            input_ids=ids,
            shape=shape,
            device=known.device,
            attention_mask=mask,
            position_ids=given.get("position_ids"),
            inputs_embeds=embeds,
            items_per_sample={name: given.get(f"{name}s_per_sample") for name in self.counted},
            cu_seqlens=borders(given.get("packed_seq_params"), shape[1]),
        )

    def _check_positions(self, positions: Tensor | None, shape: tuple[int, int]) -> None:
        several = positions is not None and positions.ndim == 3
        if not (several and self.by_axes):
            _check_shape("position_ids", positions, shape)
        elif positions is not None and tuple(positions.shape) not in ((3, *shape), (4, *shape)):
            raise ArgumentError(
                f"position_ids is {list(positions.shape)}, it must be {list(shape)}, {[3, *shape]} (time, height, "
                f"width) or {[4, *shape]} (text before those)"
            )

    def _check_labels(self, labels: Tensor | None) -> None:
        """On the CPU only: on a GPU the comparison would stop the host."""
        if labels is not None and labels.device.type == "cpu" and labels.numel() and labels.max() >= self.vocab_size:
            raise ArgumentError(f"labels hold {int(labels.max())}, the vocabulary ends at {self.vocab_size - 1}")


def borders(packed: PackedSeqParams | None, length: int) -> Tensor | None:
    """First token of each packed document and the end of the last: [documents + 1] int, or None.

    Raises:
        ArgumentError: no borders, borders that differ between queries and keys or from the padded ones, or (looked at
            on the CPU only) ones that do not ascend from 0 to at most `length`.
    """
    if packed is None:
        return None
    cu_seqlens = packed.cu_seqlens_q
    if cu_seqlens is None:
        raise ArgumentError("packed_seq_params without cu_seqlens_q: where documents begin is unknown")
    for name in ("cu_seqlens_kv", "cu_seqlens_q_padded", "cu_seqlens_kv_padded"):
        other = getattr(packed, name)
        if (
            other is not None
            and other is not cu_seqlens
            and (other.shape != cu_seqlens.shape or (other != cu_seqlens).any())
        ):
            raise ArgumentError(f"packed_seq_params.{name} differs from cu_seqlens_q; documents must lie end to end")
    if cu_seqlens.device.type == "cpu":
        found = cu_seqlens.tolist()
        if found[0] != 0 or found != sorted(found) or found[-1] > length:
            raise ArgumentError(f"cu_seqlens_q is {found}: it must ascend from 0 to at most {length}")
    return cu_seqlens


def _check_shape(name: str, value: Tensor | None, shape: tuple[int, ...], meaning: str = "") -> None:
    if value is not None and tuple(value.shape) != shape:
        raise ArgumentError(f"{name} is {list(value.shape)}, it must be {list(shape)}{meaning}")


def _signature(inputs: tuple[str, ...], counted: tuple[str, ...]) -> Signature:
    parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=None) for name in (*BEFORE, *inputs, *AFTER)]
    keywords = ("loss_mask", *(f"{name}s_per_sample" for name in counted))
    parameters += [Parameter(name, Parameter.KEYWORD_ONLY, default=None) for name in keywords]
    return Signature(parameters)
