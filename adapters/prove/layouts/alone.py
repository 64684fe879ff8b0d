"""The measure of every layout: the whole model in one process, samples one after the other, plain autograd."""

import torch
from torch import Tensor

from adapters.megatron.module import ComposedModel
from adapters.parity.gradients import gradients
from adapters.prove.layouts.batches import GlobalBatch, arguments
from composer import Graph


def loss_and_gradients(model: ComposedModel, graph: Graph, batch: GlobalBatch) -> tuple[float, dict[str, Tensor]]:
    """Losses of all samples, summed, by the tokens that count; gradients by Hugging Face name, on the CPU.

    No schedule, no data-parallel wrapper, no packing.
    """
    model.zero_grad(set_to_none=True)
    device = next(model.parameters()).device
    losses = [model(**arguments(each, device)) for each in batch.alone]
    tokens = torch.stack([mask.sum() for _, mask in losses]).sum()
    loss = torch.stack([(values * mask).sum() for values, mask in losses]).sum() / tokens
    loss.backward()
    found = {name: gradient.detach().cpu() for name, gradient in gradients(model, graph).items()}
    return float(loss.detach()), found
