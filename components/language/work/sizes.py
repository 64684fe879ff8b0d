"""How many tokens and heads one rank works on."""

from attrs import frozen

from composer.plans.costs import Setting


@frozen
class Tokens:
    """Tokens of one micro-batch on one rank: inside tensor-parallel regions, and between them."""

    whole: float
    """All of this context-parallel rank."""
    split: float
    """Those of this tensor-parallel rank under sequence parallelism; else `whole`."""

    @classmethod
    def of(cls, setting: Setting) -> "Tokens":
        """From micro-batch, sequence and layout."""
        layout = setting.layout
        whole = setting.micro_batch * setting.seq / layout.cp
        return cls(whole, whole / layout.tp if layout.sequence_parallel else whole)
