"""The command line's entrance: which commands there are, and what becomes of their errors."""

import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

from cyclopts import App, CycloptsError

from adapters.cli.failure import is_for_people

# Name, where it lives, what it does. The help lines stand here so that `--help` imports no command.
COMMANDS = (
    ("ls", "adapters.cli.ls:ls", "List the shipped specs."),
    ("init", "adapters.cli.init:init", "Write a commented spec for a checkpoint."),
    ("validate", "adapters.cli.validate:validate", "Check a spec; every problem is reported with its line."),
    ("show", "adapters.cli.show:show", "Draw a spec's graph."),
    ("dump", "adapters.cli.dump:dump", "Print a spec with everything filled in."),
    ("schema", "adapters.cli.schema:schema", "Print the JSON Schema of specs, for editors."),
    ("parity", "adapters.cli.parity:parity", "Compare tiny models with transformers, gradient by gradient."),
    ("prove", "adapters.cli.prove:prove", "Perturb one feature row and check who may see it."),
    ("train", "adapters.cli.train:train", "Train a spec on a folder of pictures and conversations."),
    ("compose", "adapters.cli.compose:compose", "Start a model from several checkpoints; account for every tensor."),
    ("import", "adapters.cli.weights:import_", "Turn a Hugging Face checkpoint into a composed one."),
    ("export", "adapters.cli.weights:export", "Turn a composed checkpoint into a Hugging Face one."),
    ("quickstart", "adapters.cli.quickstart:quickstart", "Teach a small model to read numbers in pictures."),
    ("doctor", "adapters.cli.doctor:doctor", "Say what is installed and what can run here."),
)

PLANS = (
    ("freeze", "adapters.cli.plan_freeze:freeze", "Resolve what trains to exact parameters, with its costs."),
    ("parallel", "adapters.cli.plan_parallel:parallel", "Find the layout: memory and step time by component."),
    ("emit", "adapters.cli.plan_emit:emit", "Write a plan out for Megatron-LM, DeepSpeed, torchrun and Slurm."),
    ("diff", "adapters.cli.plan_diff:diff", "Say whether two plans are the same experiment."),
    ("report", "adapters.cli.plan_report:report", "Draw a plan as one HTML page."),
)

BEFORE_TRAIN = 7.5

# DeepSpeed's launcher says the rank a second time, before the command.
DEEPSPEED_RANK = re.compile(r"--local[_-]rank=\d+")
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def make_app() -> App:
    """The command line, its commands still unimported."""
    app = App(
        name="vlm-composer",
        help="Compose vision-language models from YAML into Megatron-Core modules.",
        version=installed_version,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for order, (name, where, summary) in enumerate(COMMANDS):
        app.command(where, name=name, help=summary, sort_key=order)
    plans = App(
        name="plan",
        help="Plan a training job: what trains, what fits, how fast.",
        sort_key=BEFORE_TRAIN,
        result_action="return_value",
    )
    for order, (name, where, summary) in enumerate(PLANS):
        plans.command(where, name=name, help=summary, sort_key=order)
    app.command(plans)
    return app


def installed_version() -> str:
    """Version of the installed distribution, or `unknown` in a bare source tree."""
    try:
        return version("vlm-composer")
    except PackageNotFoundError:
        return "unknown (not installed)"


def main(tokens: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave the process: 0 done, 1 the command says no, 2 bad input, told without a traceback."""
    words = [word for word in (sys.argv[1:] if tokens is None else tokens) if not DEEPSPEED_RANK.fullmatch(word)]
    try:
        command, bound, hidden = make_app().parse_args(words, exit_on_error=False)
        # A command that starts itself again on several ranks needs the words it was started with.
        result = command(*bound.args, **bound.kwargs, **({"words": words} if "words" in hidden else {}))
    except CycloptsError:  # already printed, with the usage
        sys.exit(EXIT_USAGE)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:  # a file that cannot be read or written; its name is all there is to say
        print(f"{error.filename}: {error.strerror}" if error.filename else error, file=sys.stderr)
        sys.exit(EXIT_USAGE)
    except Exception as error:
        if not is_for_people(error):
            raise
        print(error, file=sys.stderr)
        sys.exit(EXIT_USAGE)
    sys.exit(result if isinstance(result, int) else 0)
