"""The tensors of a composed model that a checkpoint holds."""

from itertools import chain

from torch import Tensor, nn

from adapters.huggingface.checkpoint_error import CheckpointError

LAYOUT = ("tensor_model_parallel_size", "pipeline_model_parallel_size", "expert_model_parallel_size")


def rank_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name; a parameter in two places is there once, under its first name."""
    # Megatron-Core adds entries to the state dict that are no tensors; torch leaves non-persistent buffers out of it.
    persistent = model.state_dict(keep_vars=True)
    return {
        name: tensor for name, tensor in chain(model.named_parameters(), model.named_buffers()) if name in persistent
    }


def composed_tensors(model: nn.Module) -> dict[str, Tensor]:
    """`rank_tensors` of a whole model.

    Raises:
        CheckpointError: the model is one rank of several.
    """
    config = getattr(model, "config", None)
    split = [f"{name}={size}" for name in LAYOUT if (size := getattr(config, name, 1)) > 1]
    if split:
        raise CheckpointError("model", [f"holds one slice of the weights ({', '.join(split)}); only whole models yet"])
    return rank_tensors(model)
