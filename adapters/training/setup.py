"""Everything a run needs, made from the graph, the settings and the data folder, and checked before a step is taken."""

from pathlib import Path
from typing import Any

from attrs import evolve

from adapters.training.collator import Collator
from adapters.training.encoding import ChatEncoder, load_tokenizer
from adapters.training.findings import findings
from adapters.training.patches import PatchGrid
from adapters.training.problems import TrainingError
from adapters.training.settings import Training
from adapters.training.stages import load_plan, stage_findings
from components.language.gpt_declaration import has_experts
from composer import Graph

PROVIDED = ("input_ids", "pixel_values", "image_position_ids")
PLACEHOLDER = "image"


def check_settings(settings: Training, graph: Graph) -> None:
    """Everything about settings and graph that can be known without data.

    Raises:
        TrainingError: with all problems at once.
        FreezePlanError: the freeze plan is of another model; SpecError: its text has problems.
    """
    found = findings(settings) + stage_findings(settings, graph, load_plan(settings, graph))
    longest = graph.decoder().config.config.max_positions
    if settings.max_length > longest:
        found.append(("max_length", f"{settings.max_length} is beyond the decoder's {longest} positions."))
    problems = [f"{path}: {message}" for path, message in found]
    if PLACEHOLDER not in graph.tokens:
        problems.append(f"{graph.name}: the spec names no token `{PLACEHOLDER}`: pictures have no placeholder.")
    problems += [
        f"{graph.name}: input {name} ({declared.type}) is not made from pictures and text; there are "
        f"{', '.join(PROVIDED)}."
        for name, declared in graph.inputs.items()
        if name not in PROVIDED and not declared.optional
    ]
    pixels = graph.inputs.get("pixel_values")
    if pixels is not None and (len(pixels.shape) != 3 or "image_position_ids" not in graph.inputs):
        problems.append(
            f"{graph.name}: pictures are cut into patches here (pixel_values [image, patch, patch_dim], beside "
            "image_position_ids); this spec's tower reads them whole: train it in a loop of your own (docs/interop.md)."
        )
    if problems:
        raise TrainingError(problems)


def fitted(settings: Training, graph: Graph) -> Training:
    """The settings, with sequence parallelism beside tensor parallelism where the decoder has experts.

    Without it every tensor-parallel rank would send the same tokens to the experts: Megatron-Core refuses that.
    """
    layout = settings.layout
    if layout.tp > 1 and has_experts(graph.decoder().config):
        return evolve(settings, layout=evolve(layout, sequence_parallel=True))
    return settings


def make_collator(graph: Graph, settings: Training, tokenizer_dir: Path) -> Collator:
    """The collator for a graph, with the tokenizer of a folder.

    Raises:
        TrainingError: no tokenizer, one that does not fit, or a tower that reads no patches.
    """
    encoder = ChatEncoder(
        load_tokenizer(tokenizer_dir),
        settings.chat,
        graph.tokens[PLACEHOLDER],
        graph.decoder().config.config.vocab_size,
    )
    return Collator(encoder, patch_grid(graph, settings), pad_id(graph), settings.max_length)


def patch_grid(graph: Graph, settings: Training) -> PatchGrid:
    """Patch side and pooling of the tower that reads `pixel_values`, from its configuration.

    Raises:
        TrainingError: nothing reads `pixel_values`, or its configuration has no patch size.
    """
    readers = [edge.target.owner for edge in graph.edges_from("pixel_values") if edge.target.owner in graph.nodes]
    if not readers:
        raise TrainingError(f"{graph.name}: no node reads pixel_values.")
    config: dict[str, Any] = getattr(graph.nodes[readers[0]].config, "config", {})
    if not isinstance(config.get("patch_size"), int):
        raise TrainingError(f"nodes.{readers[0]}.config: has no patch_size: pictures cannot be cut into patches.")
    return PatchGrid(config["patch_size"], config.get("pooling_kernel_size", 1), settings.pictures)


def pad_id(graph: Graph) -> int:
    """The checkpoint's padding token, 0 if it names none; what stands there is never seen (`attention_mask`)."""
    text = graph.hf_config.get("text_config", graph.hf_config)
    return text.get("pad_token_id") or 0
