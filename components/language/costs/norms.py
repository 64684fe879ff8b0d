"""What RMS norms keep: ours computes in float32 step by step, Transformer Engine's is one kernel."""

from components.language.costs.tape import WIDE, Stored, Tape
from composer.plans.costs import Setting


def rms_norm(tape: Tape, x: Stored, rows: int, name: str, setting: Setting, *, heads: bool = False) -> None:
    """A norm with a weight. `x`: its input, `rows` vectors; heads: of single heads, see `components.language.norms`."""
    ours_for_heads = heads and setting.layout.tp > 1 and not setting.layout.sequence_parallel
    if setting.implementation == "local" or ours_for_heads:
        scale_free(tape, x, rows, name, "norms")
        # The normed input is kept for the gradient of the weight.
        tape.new(f"{name} normed", x.own, "norms", "weights", WIDE)
        if tape.element != WIDE:
            tape.new(f"{name} weight in float32", x.own // rows, "norms", element=WIDE)
        return
    # Transformer Engine copies an input that is a part of a larger tensor.
    tape.keep(x if x.own == x.elements else Stored.whole(f"{name} input", x.own), "norms")
    tape.new(f"{name} scale", rows, "norms", element=WIDE)


def scale_free(tape: Tape, x: Stored, rows: int, name: str, part: str) -> None:
    """The norm without a weight: its input in float32, and the inverse root of every row."""
    tape.keep_wide(x, part, name)
    tape.new(f"{name} scale", rows, part, element=WIDE)
