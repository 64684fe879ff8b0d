"""Small values beside tensors of the meta device, so that code which asks for them can run there.

Towers ask which patches are padding, how many there are, and where; all of that follows from positions alone. So what
is computed from given integers (and from constants) is computed twice: shapes on the meta device, values on the CPU.
Pixels and parameters have no values, nor has anything made from them.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

aten: Any = torch.ops.aten

LARGEST = 2**26
"""Elements beyond which a value is not kept: no mask or position of an image is as large."""
UNSET = (aten.empty, aten.empty_strided, aten.empty_like, aten.new_empty)
"""Operations whose result has no values yet."""

SHAPED_BY_VALUES = (aten.nonzero, aten.unique_consecutive, aten._unique2, aten.repeat_interleave)  # noqa: SLF001
"""Operations whose results have as many entries as values say."""


class UnknownValueError(RuntimeError):
    """A computation asked for a number that depends on pixels or parameters."""


class KnownValues:
    """Runs operations on meta tensors, and beside them on the values of those that have any."""

    def __init__(self) -> None:
        self._values = WeakTensorKeyDictionary()

    def give(self, value: Tensor) -> Tensor:
        """A meta tensor that stands for a tensor of the CPU."""
        stand_in = value.to("meta")
        self._values[stand_in] = value
        return stand_in

    def value(self, tensor: Tensor) -> Tensor | None:
        """The values of a tensor, if they are known."""
        return tensor if tensor.device.type == "cpu" else self._values.get(tensor)

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One operation below autograd.

        Raises:
            UnknownValueError: its result's shape, or a number it hands to Python, depends on values not known.
        """
        if func.overloadpacket is aten._local_scalar_dense:  # noqa: SLF001 (operations have no public names)
            return self._needed(args[0], func).item()
        if func.overloadpacket in SHAPED_BY_VALUES:
            return self._shaped_by_values(func, args, kwargs)
        given = tree_flatten((args, kwargs))[0]
        tensors = [each for each in given if isinstance(each, Tensor)]
        meta_args, meta_kwargs = self._masks_counted(func, args, kwargs)
        if any(_misplaced(tensor) for tensor in tensors):
            meta_args, meta_kwargs = tree_map_only(_misplaced, _on_meta, (meta_args, meta_kwargs))
        result = func(*meta_args, **meta_kwargs)
        values = [self.value(tensor) for tensor in tensors]
        known = all(value is not None for value in values) and func.overloadpacket not in UNSET
        if known and torch.Tag.nondeterministic_seeded not in func.tags and _small(result):
            self._compute(func, args, kwargs, result)
        elif func._schema.is_mutable:  # noqa: SLF001 (torch's name for it)
            for tensor in tree_flatten(result)[0]:
                self._values.pop(tensor, None)
        return result

    def _compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        real_args, real_kwargs = tree_map_only(Tensor, self.value, (args, kwargs))
        if real_kwargs.get("device") is not None:
            real_kwargs = {**real_kwargs, "device": torch.device("cpu")}
        made = func(*real_args, **real_kwargs)
        for stand_in, value in zip(tree_flatten(result)[0], tree_flatten(made)[0], strict=True):
            if isinstance(stand_in, Tensor):
                self._values[stand_in] = value

    def _shaped_by_values(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        real_args, real_kwargs = tree_map_only(Tensor, lambda each: self._needed(each, func), (args, kwargs))
        return tree_map_only(Tensor, self.give, func(*real_args, **real_kwargs))

    def _masks_counted(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Boolean indices replaced by as many row numbers as they choose: their number decides a shape."""
        if func.overloadpacket not in {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}:
            return args, kwargs
        indices: list[Any] = []
        for index in args[1]:
            if index is None or index.dtype not in {torch.bool, torch.uint8}:
                indices.append(index)
            else:
                chosen = int(self._needed(index, func).sum())
                indices += [torch.empty(chosen, dtype=torch.int64, device="meta")] * index.ndim
        return (args[0], indices, *args[2:]), kwargs

    def _needed(self, tensor: Tensor, func: Any) -> Tensor:
        value = self.value(tensor)
        if value is None:
            raise UnknownValueError(f"{func.overloadpacket} asks for values that depend on pixels or parameters")
        return value


class Lists(TorchFunctionMode):
    """Lists made of tensors whose values are known, and tensors made of lists: no operation of torch's shows them."""

    def __init__(self, known: KnownValues) -> None:
        super().__init__()
        self.known = known

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.tolist and (value := self.known.value(args[0])) is not None:
            return value.tolist()
        kwargs = kwargs or {}
        # By its name: without a GPU a function of our own stands in front of it.
        if getattr(func, "__name__", "") == "tensor" and torch.device(kwargs.get("device") or "cpu").type == "meta":
            # By way of numpy: whoever builds on the meta device lets torch make no tensor elsewhere.
            numbers = np.asarray(args[0])
            if numbers.dtype.kind in "biu":
                made = torch.from_numpy(numbers).to(kwargs.get("dtype") or torch.int64)
                return made if made.device.type == "meta" else self.known.give(made)
        return func(*args, **kwargs)


def _misplaced(value: Any) -> bool:
    """A number may stand on the CPU beside tensors of another device; anything larger may not."""
    return isinstance(value, Tensor) and value.ndim > 0 and value.device.type != "meta"


def _on_meta(tensor: Tensor) -> Tensor:
    return tensor.to("meta")


def _small(result: Any) -> bool:
    return all(each.numel() <= LARGEST for each in tree_flatten(result)[0] if isinstance(each, Tensor))
