"""What composing costs: `python benchmarks/composition.py [--pairs 40]`.

Forward and backward of a composed model beside the same modules wired by hand, as one would write them for this one
model: no graph, no steps, no checks of inputs. Both give the same bits; the ratio is the median over alternating pairs.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from adapters.megatron import ComposedModel, build
from adapters.parity.batch import Batch, make_batch
from adapters.parity.oracle import build_oracle, perturb
from adapters.parity.variants import variants
from components.fusion.embed import embed_tokens
from components.fusion.rotary import rotation
from components.fusion.scatter import scatter_features
from composer import Graph, load

SPEC = Path(__file__).resolve().parents[1] / "specs" / "gemma4_vl.yaml"
LIMIT = 1.03


def main() -> None:
    """Measure and print; exit status 1 if the outputs differ in a single bit."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    graph = _graph(arguments.hidden)
    model = build(graph, dtype=torch.float32)
    perturb(model)
    batch = make_batch(graph, build_oracle(graph))
    composed, by_hand = (lambda: _composed(model, batch)), (lambda: _by_hand(model, graph, batch))
    _check_bits(model, composed, by_hand)
    for step in (composed, by_hand):
        for _ in range(arguments.warmup):
            _timed(model, step)
    pairs = [_pair(model, composed, by_hand, first=number % 2 == 0) for number in range(arguments.pairs)]
    ratios = sorted(ours / hand for ours, hand in pairs)
    milliseconds = [1e3 * statistics.median(side) for side in zip(*pairs, strict=True)]
    ratio = statistics.median(ratios)
    quarter = len(ratios) // 4
    print(f"composed {milliseconds[0]:.1f} ms, by hand {milliseconds[1]:.1f} ms, forward and backward, equal bits")
    print(
        f"ratio {ratio:.3f}: median of {len(pairs)} alternating pairs, middle half {ratios[quarter]:.3f} to "
        f"{ratios[-1 - quarter]:.3f} (limit {LIMIT}: {'kept' if ratio <= LIMIT else 'MISSED'})"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40, help="alternating pairs, at least 30")
    parser.add_argument("--warmup", type=int, default=3, help="steps of each before the first pair")
    parser.add_argument("--hidden", type=int, default=256, help="width of the decoder")
    parser.add_argument("--threads", type=int, default=1, help="threads of one operation")
    arguments = parser.parse_args()
    if arguments.pairs < 30:
        parser.error("--pairs: at least 30")
    return arguments


def _graph(hidden: int) -> Graph:
    tiny = variants(SPEC, load(SPEC).hf_config)[0].hf_config
    wider = {"hidden_size": hidden, "intermediate_size": 2 * hidden, "moe_intermediate_size": hidden}
    return load(SPEC, hf=tiny, overrides=[f"hf.text_config.{name}={size}" for name, size in wider.items()])


def _composed(model: ComposedModel, batch: Batch) -> Tensor:
    losses, mask = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        labels=batch.labels,
        loss_mask=batch.loss_mask,
        **batch.features,
    )
    return (losses * mask).sum() / mask.sum()


def _by_hand(model: ComposedModel, graph: Graph, batch: Batch) -> Tensor:
    """The same modules in the order of this one model."""
    ids, image = batch.input_ids, graph.tokens["image"]
    pixels, positions = batch.features["pixel_values"], batch.features["image_position_ids"]
    tower, projector, decoder = model.vision_tower, model.embed_vision, model.language_model
    replaced = torch.tensor([graph.tokens[name] for name in ("image", "video", "audio")])
    embeddings = embed_tokens(decoder.embedding, ids, replaced, 0, decoder.config.hidden_size**0.5)
    features = projector(tower(pixel_values=pixels, pixel_position_ids=positions).last_hidden_state)
    embeddings = scatter_features(embeddings, features, ids == image)
    index = torch.arange(ids.shape[1]).expand_as(ids)
    losses = decoder(
        embeddings,
        model.program.layout.build(ids, batch.attention_mask),
        rotation(index, decoder.rotation_table(ids.device), torch.float32),
        labels=batch.labels,
    )
    return (losses * batch.loss_mask).sum() / batch.loss_mask.sum()


def _check_bits(model: ComposedModel, composed: Callable[[], Tensor], by_hand: Callable[[], Tensor]) -> None:
    results = []
    for step in (composed, by_hand):
        model.zero_grad(set_to_none=True)
        loss = step()
        loss.backward()
        gradients = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
        results.append({"loss": loss.detach(), **gradients})
    first, second = results
    different = [name for name in first.keys() | second.keys() if not _equal(first.get(name), second.get(name))]
    if different:
        raise SystemExit(f"not the same bits: {', '.join(sorted(different)[:5])}")


def _equal(first: Tensor | None, second: Tensor | None) -> bool:
    return first is not None and second is not None and torch.equal(first, second)


def _pair(
    model: ComposedModel, composed: Callable[[], Tensor], by_hand: Callable[[], Tensor], *, first: bool
) -> tuple[float, float]:
    """Seconds of the composed step and of the one by hand; `first`: in this order."""
    if first:
        return _timed(model, composed), _timed(model, by_hand)
    hand = _timed(model, by_hand)
    return _timed(model, composed), hand


def _timed(model: ComposedModel, step: Callable[[], Tensor]) -> float:
    model.zero_grad(set_to_none=True)
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    step().backward()
    seconds = time.perf_counter() - start
    gc.enable()
    return seconds


if __name__ == "__main__":
    main()
