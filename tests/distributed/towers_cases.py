"""Models with several towers, the layouts they are run under, and the batches that ranks share out."""

from pathlib import Path

import torch
from safetensors.torch import save_file

import adapters.megatron
from adapters.huggingface.import_weights import import_weights
from adapters.huggingface.weight_plan import slots
from adapters.parity.oracle import perturb
from adapters.prove.layouts.alone import loss_and_gradients
from adapters.prove.layouts.batches import GlobalBatch, MicroBatch
from adapters.prove.layouts.job import WEIGHTS, write_alone, write_graph
from composer import Graph
from tests.distributed.layouts import case
from tests.several_towers import AUDIO, FRAMES, IMAGE, MELS, ROWS, SIDE, SOUND_ROWS, two_vision_towers, vision_and_audio

GRAPHS = {"side_by_side": two_vision_towers, "seeing_and_hearing": vision_and_audio}
CASES = tuple(
    case(variant, name, data_ranks, **fields)
    for variant in GRAPHS
    for name, data_ranks, fields in (
        ("tp2", 1, {"tp": 2}),
        ("tp2sp", 1, {"tp": 2, "sequence_parallel": True}),
        ("cp2", 1, {"cp": 2}),
        ("pp2", 1, {"pp": 2}),
        ("dp2", 2, {}),
    )
)
FROZEN = {"side_by_side": ("siglip", "dinov2", "projector"), "seeing_and_hearing": ("vision", "audio_tower", "hear")}
FIXED = {"audio.embed_positions.weight"}
"""What transformers itself keeps from training: sines."""
LENGTH = 56
ITEMS = ((2, 1), (1, 0), (0, 2), (0, 0))
"""Pictures and sounds of each row; the last two rows go to the second data-parallel rank."""


def prepare(variant: str, folder: Path) -> None:
    """Leave spec, weights, the batch, and what one process finds."""
    graph = GRAPHS[variant]()
    write_graph(graph, folder)
    model = adapters.megatron.build(graph).train()
    perturb(model)
    (folder / WEIGHTS).mkdir()
    values = {
        name: torch.cat([view.detach().reshape(-1) for view in slot.piece.views]).reshape(slot.shape)
        for name, slot in slots(model).items()
    }
    save_file(values, folder / WEIGHTS / "model.safetensors")
    import_weights(model, folder / WEIGHTS)
    rows = [_row(graph, number, *items) for number, items in enumerate(ITEMS)]
    batch = GlobalBatch(rows, rows)
    write_alone(folder, {"several": batch}, {"several": loss_and_gradients(model, graph, batch)})


def _row(graph: Graph, seed: int, pictures: int, sounds: int) -> MicroBatch:
    """Pictures and sounds with a word between each two, then words."""
    generator = torch.Generator().manual_seed(seed)
    hears = "audio" in graph.tokens
    ids = torch.randint(3, 80, (1, LENGTH), generator=generator)
    place = 1
    for token, count, rows in ((IMAGE, pictures, ROWS), (AUDIO, sounds if hears else 0, SOUND_ROWS)):
        for _ in range(count):
            ids[0, place : place + rows] = token
            place += rows + 1
    given = {
        "pixel_values": torch.rand(pictures, 3, SIDE, SIDE, generator=generator) if pictures else None,
        "images_per_sample": torch.tensor([pictures]),
    }
    if hears:
        given |= {
            "input_features": torch.rand(sounds, MELS, FRAMES, generator=generator) if sounds else None,
            "audios_per_sample": torch.tensor([sounds]),
        }
    return given | {
        "input_ids": ids,
        "labels": ids.roll(-1, 1),
        "loss_mask": (ids < 80).float().roll(-1, 1),
        "attention_mask": torch.ones_like(ids, dtype=torch.bool),
    }
