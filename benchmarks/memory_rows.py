"""What a row of `gpu_memory.py` builds, plans and runs. Legend: B samples, S positions."""

import gc
import json
import time
from pathlib import Path
from typing import Any

import torch

from adapters.megatron import build, replicas, runtime
from adapters.megatron.engine import MegatronEngine
from adapters.megatron.layout import model_overrides
from adapters.megatron.module import ComposedModel
from adapters.megatron.schedule import MicroBatch, forward_backward
from adapters.megatron.start import build_stages
from adapters.parity.tiny import shrink
from adapters.plans.inventory import inventory
from adapters.training.collator import Batch
from adapters.training.settings import Stage, Training
from adapters.training.stages import freeze_all_but
from benchmarks.gpu_memory import Row
from composer import Graph, load
from composer.edges import MaskEdge
from composer.plans.execution import Execution
from composer.plans.hardware import Efficiency, Hardware
from composer.plans.job import Job
from composer.plans.layout import Layout
from composer.plans.memory.activations import stage_bytes
from composer.plans.memory.ranks import fullest
from composer.plans.memory.setting import setting_of
from composer.plans.memory.states import parameters_of, states
from composer.plans.memory.towers import Images
from composer.plans.model import PlannedModel
from composer.plans.placement import Chunk

SPECS = Path(__file__).resolve().parents[1] / "specs"
CONFIGS = {"26b": "gemma4_26b_a4b.json", "31b": "gemma4_31b.json"}
KINDS = {"s": "sliding_attention", "f": "full_attention"}
SIDE = 16
TINY_SIDE = 4
TINY_LENGTH = 16  # times shorter


def graph_of(row: Row, *, tiny: bool) -> Graph:
    """The shipped configuration with few layers; all widths, experts and the whole tower as shipped, unless tiny."""
    configured: dict[str, Any] = json.loads((SPECS / "configs" / CONFIGS[row.model]).read_text(encoding="utf-8"))
    if tiny:
        configured = shrink(configured)
    kinds = [KINDS[letter] for letter in row.layers]
    configured["text_config"] |= {"layer_types": kinds, "num_hidden_layers": len(kinds)}
    return load(SPECS / "gemma4_vl.yaml", hf=configured)


def model_of(row: Row, *, tiny: bool) -> PlannedModel:
    """As plans see it."""
    graph = graph_of(row, tiny=tiny)
    known, decoder = inventory(graph), graph.decoder()
    costs = graph.component(decoder.name).costs
    assert costs is not None
    trained = frozenset(each.name for each in known.parameters if each.node in row.trains)
    rules = next(edge.rules for edge in graph.edges_to(decoder.name) if isinstance(edge, MaskEdge))
    return PlannedModel(known, decoder.name, costs(decoder.config), dict(rules), trained)


def length_of(row: Row, *, tiny: bool) -> int:
    """S."""
    return row.length // TINY_LENGTH if tiny else row.length


def layout_of(row: Row) -> Layout:
    """Of one rank."""
    return Layout(recompute=row.recompute, recompute_modules=row.modules)  # type: ignore[arg-type]


def implementation_of(row: Row) -> str:
    """The row's, or what runs without a card."""
    return row.implementation if torch.cuda.is_available() else "local"


def job(row: Row, *, tiny: bool) -> Job:
    """One micro-batch a step."""
    return Job(
        gpus=1,
        seq=length_of(row, tiny=tiny),
        global_batch=row.micro_batch,
        images=row.images,
        image_tokens=(TINY_SIDE if tiny else SIDE) ** 2,
        implementation=row.implementation,  # type: ignore[arg-type]
    )


def execution(row: Row) -> Execution:
    """On one rank."""
    return Execution(gpus=1, layout=layout_of(row), micro_batch=row.micro_batch)


def hardware() -> Hardware:
    """Only its reserve counts here, and there is none: it is no allocation of torch's."""
    nothing = Efficiency(1, 1, 1, 1, 1)
    return Hardware("one card", 80, 1, 1, 1, 1, 1, 1, 1, 1, reserve_gib=0, efficiency=nothing)


def without_head(model: PlannedModel, asked: Job, row: Row) -> dict[str, int]:
    """Planned bytes by component of a stage that embeds, encodes and has all layers, and no head."""
    stage = Chunk(0, 0, range(len(model.decoder.kinds)), first=True, last=False)
    setting = setting_of(model, asked, layout_of(row), row.micro_batch)
    passing = fullest((stage_bytes(model, stage, setting, Images.of(asked)),), (1,))
    held = states(parameters_of(model, (stage,)), asked, execution(row))
    own = {"activations": passing.activations, "towers": passing.towers, "masks": passing.masks, "logits": 0}
    return {"weights": held.weights, "gradients": held.gradients, **own, "transient": passing.transient} | {
        # Of what a stage holds to send, there is only its output here.
        "communication": passing.sent
    }


def measure(row: Row, *, tiny: bool) -> dict[str, Any]:
    """Bytes that torch has allocated at several points of two steps, and seconds; peaks are of the second step."""
    begin = time.time()
    graph, settings = graph_of(row, tiny=tiny), _settings(row)
    models = build_stages(graph, settings) if row.head else [_headless(graph, settings)]
    engine = MegatronEngine(models, settings)
    batch = _batch(graph, row, tiny=tiny)
    found: dict[str, Any] = {"parameters": sum(parameter.numel() for parameter in models[0].parameters())}
    found["weights"], found["build_seconds"] = _allocated(), time.time() - begin
    if row.optimizer:
        engine.begin_stage(settings.stages[0])
    else:
        freeze_all_but(models[0], graph, settings.stages[0])
        models[0].train()
        engine.stages = replicas.wrap(models, settings)
    found["before_steps"] = _allocated()
    found["loss"] = _step(engine, batch, row)
    gc.collect()
    found["states"] = _allocated()
    found |= _of_forward(engine, batch)
    _reset()
    found["loss"] = _step(engine, batch, row)
    return found | _peaks() | {"seconds": time.time() - begin}


def _settings(row: Row) -> Training:
    return Training(
        stages=(Stage("row", 2, row.trains),),
        micro_batch=row.micro_batch,
        global_batch=row.micro_batch,
        precision="bf16",
        transformer_impl=implementation_of(row),  # type: ignore[arg-type]
        layout=layout_of(row),
    )


def _headless(graph: Graph, settings: Training) -> ComposedModel:
    """The first stage of a pipeline, with all layers, and no others."""
    runtime.init(seed=settings.seed)
    overrides = model_overrides(settings.layout, graph.decoder().config.config.num_layers)
    implementation: dict[str, Any] = {"transformer_impl": settings.transformer_impl}
    return build(graph, dtype=torch.bfloat16, post_process=False, **overrides, **implementation)


def _step(engine: MegatronEngine, batch: Batch, row: Row) -> float:
    if not row.head:
        output, _ = engine.stages[0](**_inputs(batch))
        output.backward(torch.ones_like(output))
        return 0.0
    if row.optimizer:
        return engine.step([batch], 1e-5).loss
    return forward_backward(engine.stages, [_inputs(batch)])


def _of_forward(engine: MegatronEngine, batch: Batch) -> dict[str, int]:
    """What a forward pass leaves for its backward pass, and its own peak above what was there."""
    inputs, before = _inputs(batch), _allocated()
    _reset()
    output = engine.stages[0](**inputs)
    kept, peak = _allocated() - before, _peaks().get("peak")
    # Expert dispatchers hold their last routing, and with it this pass: only a backward pass lets go of it.
    (output[0] if isinstance(output, tuple) else output).sum().backward()
    del output
    gc.collect()
    return {"kept": kept} | ({} if peak is None else {"forward_peak": peak - before})


def _inputs(batch: Batch) -> MicroBatch:
    device = torch.cuda.current_device()
    return {**batch.inputs(device), "labels": batch.labels, "loss_mask": batch.loss_mask}  # type: ignore[arg-type]


def _allocated() -> int:
    if not torch.cuda.is_available():
        return 0
    torch.cuda.synchronize()
    return torch.cuda.memory_allocated()


def _reset() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peaks() -> dict[str, int]:
    """peak: of tensors; reserved: of what torch holds for them; card: of all that the card says is taken."""
    if not torch.cuda.is_available():
        return {}
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    peaks = {"peak": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
    return peaks | {"card": total - free, "reserved_now": torch.cuda.memory_reserved()}


def _batch(graph: Graph, row: Row, *, tiny: bool) -> Batch:
    """Text, and pictures spread over it; on the card."""
    device = torch.cuda.current_device()
    samples, length, side = row.micro_batch, length_of(row, tiny=tiny), TINY_SIDE if tiny else SIDE
    vision = graph.hf_config["vision_config"]
    ids = torch.randint(5, 100 if tiny else 200_000, (samples, length))
    gap = length // (row.images + 1) if row.images else length
    for image in range(row.images):
        start = image * gap + 2
        ids[:, start : start + side**2] = graph.tokens["image"]
    patches, count = side * vision["pooling_kernel_size"], samples * row.images
    line = torch.arange(patches)
    places = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).reshape(1, -1, 2).repeat(count, 1, 1)
    return Batch(
        input_ids=ids.to(device),
        labels=ids.roll(-1, 1).to(device),
        loss_mask=torch.ones(samples, length, device=device),
        attention_mask=torch.ones(samples, length, dtype=torch.bool, device=device),
        pixel_values=torch.rand(count, patches**2, 3 * vision["patch_size"] ** 2).to(device) if count else None,
        image_position_ids=places.to(device) if count else None,
        images_per_sample=torch.full((samples,), row.images, device=device),
    )
