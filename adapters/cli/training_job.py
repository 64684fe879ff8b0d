"""What `vlm-composer train` was asked to do, checked before anything starts, and done in each process."""

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from adapters.cli.arguments import existing, load_graph
from adapters.cli.failure import UsageError
from adapters.cli.quiet import quiet
from adapters.cli.training_flags import Flags, overridden
from adapters.training.ranks import check_processes

if TYPE_CHECKING:
    from adapters.training.settings import Training
    from composer import Graph


@frozen
class Job:
    """What the command line asked for."""

    spec: str
    settings: Path
    data: Path
    hf: str | None
    set_: list[str]
    weights: list[str]
    tokenizer: Path | None
    output: Path
    dry_run: bool
    tensorboard: bool
    wandb: str | None
    flags: Flags
    freeze_plan: Path | None = None

    def prepare(self, processes: int, resume: bool) -> "tuple[Graph, Training]":
        """Load spec and settings, and refuse all that can be known to fail before anything is started."""
        from adapters import checkpoint_folder
        from adapters.training.settings_file import load_settings
        from adapters.training.setup import check_settings

        whole, _ = self.named_weights()
        for path in (self.settings, self.data, whole, self.tokenizer, self.freeze_plan):
            existing(path)
        chosen = overridden(load_settings(self.settings), self.flags)
        if self.freeze_plan is not None:
            chosen = evolve(chosen, freeze_plan=str(self.freeze_plan))
        graph = load_graph(self.spec, self.hf or (str(whole) if whole else None), self.set_)
        self.sources(graph)
        check_settings(chosen, graph)
        check_processes(chosen, processes)
        if self.wandb is not None:
            from adapters.training.boards import check_wandb

            check_wandb()
        # A restart would take another run's checkpoint for its own.
        if not (resume or self.dry_run) and checkpoint_folder.complete(self.output / "checkpoints"):
            raise UsageError(
                f"{self.output}: holds checkpoints of a run: --resume goes on, or choose another --output."
            )
        return graph, chosen

    def named_weights(self) -> "tuple[Path | None, dict[str, Path]]":
        """What `--weights` names: a checkpoint of the whole model, or checkpoints of nodes."""
        from adapters.huggingface.sources import parse_sources

        return parse_sources(self.weights)

    def sources(self, graph: "Graph") -> "Path | dict[str, Path]":
        """Where weights come from: one checkpoint, or those of nodes, the spec's own among them."""
        from adapters.huggingface.sources import sources_of

        whole, nodes = self.named_weights()
        return whole or sources_of(graph, nodes)

    def run(self, processes: int, resume: bool) -> None:
        """Train in this process, which may be one of several."""
        graph, chosen = self.prepare(processes, resume)
        quiet()
        from adapters.training import run

        run(
            graph,
            chosen,
            self.data,
            self.output,
            weights=self.sources(graph),
            tokenizer_dir=self.tokenizer,
            dry_run=self.dry_run,
            resume=resume,
            tensorboard=self.tensorboard,
            wandb=self.wandb,
        )
