"""Keep a command's screen for the command: what the libraries say about themselves is not an answer to anything."""

import logging
import os
import warnings

VERBOSE = "VLM_COMPOSER_VERBOSE"


def quiet() -> None:
    """Silence progress bars, notices and warnings of the libraries below us; VLM_COMPOSER_VERBOSE=1 keeps them.

    To be called before they are imported: some read the environment then, and megatron-core warns while it is imported.
    """
    if os.environ.get(VERBOSE):
        return
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # torch sets its own level when imported
    for library in ("torch", "megatron", "transformers"):
        warnings.filterwarnings("ignore", module=rf"{library}(\..*)?$")
        logging.getLogger(library).setLevel(logging.ERROR)
