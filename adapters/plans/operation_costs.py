"""Counts what a computation costs while it runs on the meta device: FLOPs, bytes moved, kernels, tensors kept.

What counts as what:
    gemm        products of an activation with a parameter, and convolutions: FLOPs, a multiply-add being two
    attention   fused attention, and products of two activations: FLOPs
    elementwise everything else that is no view: bytes read plus bytes written. A tensor that is broadcast is read once;
                operands of matrix products are not counted, their time is their FLOPs'.
    kept        what autograd keeps for the backward pass: bytes of whole storages, each once, without parameters and
                without tensors that the caller keeps alive
"""

from collections.abc import Iterable
from typing import Any

import torch
from attrs import define, field
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from adapters.plans.known_values import KnownValues

aten: Any = torch.ops.aten

FUSED_ATTENTION = aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001 (operations have no public names)
"""Stands for the fused kernels of any device: each keeps queries, keys, values, mask, output and one float32 a row."""
LOOKUPS = (aten.embedding, aten.index, aten.index_select, aten.gather)
"""Read of their first operand what they write, no more."""
NOTHING_MOVES = (
    *(aten._unsafe_view, aten.lift_fresh),  # noqa: SLF001
    *(aten.empty, aten.empty_strided, aten.empty_like, aten.new_empty),
)


@define
class OperationCosts:
    """gemm, attention: FLOPs. elementwise, kept: bytes. launches: kernels."""

    gemm: float = 0.0
    attention: float = 0.0
    elementwise: float = 0.0
    kept: float = 0.0
    launches: int = 0
    _storages: dict[int, Tensor] = field(factory=dict, repr=False)
    """One tensor of each storage counted, which keeps it, and so its number, from being given to another."""

    def keep(self, tensor: Tensor) -> Tensor:
        """Count a tensor that autograd keeps."""
        if storage_of(tensor) not in self._storages:
            self._storages[storage_of(tensor)] = tensor
            self.kept += tensor.untyped_storage().nbytes()
        return tensor

    def ignore(self, tensors: Iterable[Tensor]) -> None:
        """Tensors that are there anyway."""
        self._storages.update({storage_of(tensor): tensor for tensor in tensors})


class Counting(TorchDispatchMode):
    """Adds the costs of every operation to `costs`; tensors of `parameters` make a product a GEMM."""

    def __init__(self, costs: OperationCosts, known: KnownValues, parameters: Iterable[Tensor]) -> None:
        super().__init__()
        self.costs, self.known = costs, known
        self._weights = {storage_of(parameter) for parameter in parameters}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = self.known.run(func, args, kwargs)
        packet = func.overloadpacket
        if func.is_view or packet in NOTHING_MOVES:
            return result
        read = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
        if packet is FUSED_ATTENTION:
            self.costs.attention += sdpa_flop_count(*(each.shape for each in args[:3]))
        elif packet in flop_registry:
            flops = flop_registry[packet](*args, **kwargs, out_val=result)
            if any(storage_of(each) in self._weights for each in read):
                self.costs.gemm += flops
            else:
                self.costs.attention += flops
        else:
            written = [each for each in tree_flatten(result)[0] if isinstance(each, Tensor)]
            if not (read or written):
                return result
            if packet in LOOKUPS:
                read = [*written, *read[1:]]
            self.costs.elementwise += sum(map(_moved, [*read, *written]))
        self.costs.launches += 1
        return result


class FusedAttention(TorchFunctionMode):
    """`scaled_dot_product_attention` as the fused kernels run it: on the meta device torch takes it apart instead."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            return _fused(*args, **kwargs)
        return func(*args, **kwargs)


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(repeats, -3), value.repeat_interleave(repeats, -3)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        # As torch does before it calls a kernel.
        seen, hidden = (torch.full((), fill, dtype=query.dtype, device="meta") for fill in (0.0, float("-inf")))
        attn_mask = torch.where(attn_mask, seen, hidden)
    attended: Tensor = FUSED_ATTENTION(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]
    return attended


def storage_of(tensor: Tensor) -> int:
    """The number of the memory, real or not, that a tensor and its views share."""
    return tensor.untyped_storage()._cdata  # noqa: SLF001 (addresses are all 0 on the meta device)


def _moved(tensor: Tensor) -> int:
    """Bytes: of a broadcast tensor, what is there."""
    return min(tensor.numel() * tensor.itemsize, tensor.untyped_storage().nbytes())
