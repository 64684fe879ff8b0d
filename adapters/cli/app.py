"""The command line's entrance: which commands there are, and what becomes of their errors."""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

from cyclopts import App, CycloptsError

# Name, where it lives, what it does. The help lines stand here so that `--help` imports no command.
COMMANDS = (
    ("ls", "adapters.cli.ls:ls", "List the shipped specs."),
    ("validate", "adapters.cli.validate:validate", "Check a spec; every problem is reported with its line."),
    ("show", "adapters.cli.show:show", "Draw a spec's graph."),
    ("dump", "adapters.cli.dump:dump", "Print a spec with everything filled in."),
    ("schema", "adapters.cli.schema:schema", "Print the JSON Schema of specs, for editors."),
    ("parity", "adapters.cli.parity:parity", "Compare tiny models with transformers, gradient by gradient."),
    ("prove", "adapters.cli.prove:prove", "Perturb one feature row and check who may see it."),
    ("train", "adapters.cli.train:train", "Train a spec on a folder of pictures and conversations."),
    ("import", "adapters.cli.weights:import_", "Turn a Hugging Face checkpoint into a composed one."),
    ("export", "adapters.cli.weights:export", "Turn a composed checkpoint into a Hugging Face one."),
    ("quickstart", "adapters.cli.quickstart:quickstart", "Teach a small model to read numbers in pictures."),
    ("doctor", "adapters.cli.doctor:doctor", "Say what is installed and what can run here."),
)

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
    return app


def installed_version() -> str:
    """Version of the installed distribution, or `unknown` in a bare source tree."""
    try:
        return version("vlm-composer")
    except PackageNotFoundError:
        return "unknown (not installed)"


def main(tokens: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave the process: 0 done, 1 the command says no, 2 bad input, told without a traceback."""
    try:
        result = make_app()(tokens, exit_on_error=False)
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


def is_for_people(error: Exception) -> bool:
    """Whether the error's text says what is wrong with the input: our own errors do, others keep their traceback."""
    return type(error).__module__.partition(".")[0] in {"composer", "components", "adapters"}
