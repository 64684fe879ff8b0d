"""Everything a run needs, made from the graph, the settings and the data folder, and checked before a step is taken."""

from collections.abc import Mapping
from pathlib import Path

from attrs import evolve

from adapters.training.collator import Collator
from adapters.training.encoding import TOKENIZER, ChatEncoder, load_tokenizer
from adapters.training.findings import findings
from adapters.training.grown_tokenizer import grow_tokenizer
from adapters.training.picture_inputs import PLACEHOLDER, PROVIDED, picture_grid, picture_problem
from adapters.training.problems import TrainingError
from adapters.training.settings import Training
from adapters.training.stages import load_plan, stage_findings
from components.language.gpt_declaration import has_experts
from composer import Graph


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
    problems += [problem for problem in [picture_problem(graph)] if problem is not None]
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
        TrainingError: no tokenizer, one that does not fit, or a tower that pictures cannot be prepared for.
    """
    tokenizer = load_tokenizer(tokenizer_dir)
    grow_tokenizer(tokenizer, graph)
    encoder = ChatEncoder(
        tokenizer,
        settings.chat,
        graph.tokens[PLACEHOLDER],
        graph.decoder().config.config.vocab_size,
    )
    return Collator(encoder, picture_grid(graph, settings), pad_id(graph), settings.max_length)


def pad_id(graph: Graph) -> int:
    """The checkpoint's padding token, 0 if it names none; what stands there is never seen (`attention_mask`)."""
    text = graph.hf_config.get("text_config", graph.hf_config)
    return text.get("pad_token_id") or 0


def tokenizer_place(graph: Graph, weights: "Path | Mapping[str, Path] | None", data_dir: Path) -> Path:
    """Where the tokenizer is if nobody says so: beside the decoder's weights, else with the data."""
    place = weights.get(graph.decoder().name) if isinstance(weights, Mapping) else weights
    if isinstance(weights, Mapping) and place is not None and not (place / TOKENIZER).is_file():
        return data_dir
    return place or data_dir
