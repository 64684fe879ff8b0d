"""A freeze plan under test, and the runs that consume it."""

from typing import Any

from attrs import evolve, field, frozen

from adapters.training.settings import Layout, OptimizerSettings, Stage, Training, Zero
from composer.stages import FreezeStage

LR, WEIGHT_DECAY = 1e-3, 10.0
"""So much decay that it shows beside Adam's first step, whose elements are all as large as the learning rate."""
STAGES = {
    "align": FreezeStage(("projector",)),
    "part": FreezeStage(
        trains=("all - tower",),
        freezes=("layers(0)", '"*.q_norm.*"'),
        lr_multipliers={"projector": 0.5, "layers(2)": 2.0},
        weight_decay_multipliers={'"*.linear_fc2.*" - layers(0)': 3.0, "embeddings": 0.0},
    ),
    # Nothing trains on the first pipeline rank.
    "end": FreezeStage(("layers(-1)",)),
}


@frozen
class Case:
    """A run of one step in each stage, in some layout."""

    name: str
    ranks: int
    changes: dict[str, Any] = field(factory=dict)

    @property
    def settings(self) -> Training:
        """eps is nothing beside a gradient: then every element moves by the learning rate in the first step."""
        optimizer = OptimizerSettings(lr=LR, weight_decay=WEIGHT_DECAY, eps=1e-30, clip=0.0)
        stages = tuple(Stage(name, 1) for name in STAGES)
        one = Training(stages=stages, micro_batch=1, global_batch=4, optimizer=optimizer)
        return evolve(one, **self.changes)


CASES = (
    Case("alone", 1),
    Case("dp2", 2, {"distributed_optimizer": True, "overlap": True}),
    Case("pp2", 2, {"layout": Layout(pp=2)}),
    Case("pp2vp2", 2, {"layout": Layout(pp=2, virtual_stages=2)}),
    Case("pp2_first0", 2, {"layout": Layout(pp=2, first_stage_layers=0)}),
    Case("ep2", 2, {"layout": Layout(ep=2), "distributed_optimizer": True}),
    Case("deepspeed", 2, {"engine": "deepspeed", "zero": Zero(stage=1)}),
)
