"""What can go wrong between a checkpoint and a layout, done on purpose."""

from contextlib import contextmanager
from unittest import mock

from megatron.core.transformer import mlp
from megatron.core.transformer.moe.experts import SequentialMLP

from adapters.megatron import optimizer_state, random_state


@contextmanager
def loading(fault):
    """Something is forgotten, or read in another order than it was written."""
    described = SequentialMLP.sharded_state_dict

    def reversed_experts(self, prefix="", sharded_offsets=(), metadata=None):
        self.local_experts = type(self.local_experts)(reversed(self.local_experts))
        found = described(self, prefix, sharded_offsets, metadata)
        self.local_experts = type(self.local_experts)(reversed(self.local_experts))
        return found

    set_steps = optimizer_state._set_steps
    patches = {
        "gate_and_up_not_apart": (mlp, "apply_swiglu_sharded_factory", lambda tensor, *_, **__: tensor),
        "experts_in_another_order": (SequentialMLP, "sharded_state_dict", reversed_experts),
        "moments_lost": (optimizer_state, "load_tensors", lambda *_: None),
        "steps_lost": (optimizer_state, "_set_steps", lambda optimizer, _: set_steps(optimizer, 0)),
        "random_states_lost": (random_state, "load_random", lambda *_: None),
    }
    if fault is None:
        yield
    else:
        with mock.patch.object(*patches[fault]):
            yield
