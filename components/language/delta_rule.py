"""The gated delta rule and the convolution before it, in torch: what every other form of them is measured against.

A value head keeps a matrix M [K, V], zero before the first token. Token t lets it fade, reads what it holds under its
key, writes the difference to its own value there, with strength b, and answers with what it holds under its query:

    M <- exp(g_t) M;   w_t = b_t (v_t - M' k_t);   M <- M + k_t w_t';   o_t = M' q_t

Legend: B rows, each one document; S tokens, C of them a chunk; G key heads, R value heads of each, K and V widths.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

CHUNK = 64
EPSILON = 1e-6


def causal_convolution(x: Tensor, weight: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """Every channel along the tokens, each token seeing itself and those before it, zeros before the first.

    Args:
        x: [B, S, channels].
        weight: [channels, 1, W], the last of W for the token itself.
        activation: applied to the result.

    Returns:
        [B, S, channels], dtype of `x`.
    """
    earlier = weight.shape[-1] - 1
    padded = functional.pad(x.transpose(1, 2), (earlier, 0))
    return activation(functional.conv1d(padded, weight, groups=weight.shape[0])).transpose(1, 2)


def gated_delta_rule(
    query: Tensor, key: Tensor, value: Tensor, decay: Tensor, strength: Tensor, chunk: int = CHUNK
) -> Tensor:
    """The rule, chunk by chunk: what tokens of a chunk write follows from what they would write if each were alone.

    With c_t the sum of g up to t in the chunk and M the matrix before it, the writes W of a chunk solve
    (1 + L) W = b (V - e^c K M) where L_ts = b_t e^(c_t - c_s) k_t k_s for s < t: one triangular system.

    Args:
        query, key: [B, S, G, K]; scaled to length one here, queries by K ** -0.5 too.
        value: [B, S, G, R, V].
        decay: [B, S, G, R] float32, g: at most 0.
        strength: [B, S, G, R], b.
        chunk: C; any number gives the same up to rounding.

    Returns:
        [B, S, G, R, V], dtype of `value`; computed in float32.

    Source: Yang, Kautz, Hatamizadeh 2024, "Gated Delta Networks", section 3.3; transformers 5.23
    models/qwen3_5_moe/modeling_qwen3_5_moe.py has the same function of key heads repeated.
    """
    length, dtype = value.shape[1], value.dtype
    query, key = _unit(query) * query.shape[-1] ** -0.5, _unit(key)
    query, key = _chunks(query[:, :, :, None], chunk), _chunks(key[:, :, :, None], chunk)
    strength, decay = (_chunks(each.float()[..., None], chunk) for each in (strength, decay))
    value = _chunks(value.float(), chunk) * strength
    fade = decay.cumsum(-2)  # c: [B, G, R, chunks, C, 1]
    between = (fade - fade.transpose(-1, -2)).tril().exp().tril()
    faded_key = key * (strength * fade.exp())
    system = (key @ key.transpose(-1, -2)) * between * strength
    width = value.shape[-1]
    wide = torch.cat([value, faded_key], dim=-1)
    solved = torch.linalg.solve_triangular(system, wide, upper=False, unitriangular=True)
    alone, seen = solved[..., :width], solved[..., width:]
    scores = (query @ key.transpose(-1, -2)) * between
    query, total = query * fade.exp(), fade[..., -1:, :]
    kept = key * (total - fade).exp()
    state = alone.new_zeros(*alone.shape[:3], key.shape[-1], width)
    answers = []
    for number in range(alone.shape[3]):
        written = alone[:, :, :, number] - seen[:, :, :, number] @ state
        answers.append(query[:, :, :, number] @ state + scores[:, :, :, number] @ written)
        state = state * total[:, :, :, number].exp() + kept[:, :, :, number].transpose(-1, -2) @ written
    answer = torch.stack(answers, dim=3).flatten(3, 4)[:, :, :, :length]
    return answer.permute(0, 3, 1, 2, 4).to(dtype)


def _unit(x: Tensor) -> Tensor:
    """x / |x| over the last dimension, in float32; zeros stay zeros."""
    wide = x.float()
    return wide * torch.rsqrt(wide.square().sum(-1, keepdim=True) + EPSILON)


def _chunks(x: Tensor, chunk: int) -> Tensor:
    """[B, S, G, R, N] to [B, G, R, chunks, C, N], zeros behind the last token (which write nothing)."""
    x = functional.pad(x, (0, 0, 0, 0, 0, 0, 0, -x.shape[1] % chunk))
    return x.permute(0, 2, 3, 1, 4).unflatten(3, (-1, chunk))
