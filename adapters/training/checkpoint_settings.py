"""What a run saves while it trains."""

from attrs import field, frozen


def _doc(text: str) -> dict[str, str]:
    return {"description": text}


@frozen
class Checkpoints:
    """What is saved while training runs, to resume from."""

    every: int = field(default=0, metadata=_doc("Steps between checkpoints; 0: none."))
    keep: int = field(default=2, metadata=_doc("Newest checkpoints that are kept."))
    asynchronous: bool = field(default=False, metadata=_doc("Train on while files are being written."))
