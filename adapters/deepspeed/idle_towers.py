"""Towers and projectors run in every micro-batch on every rank, so that ranks never wait for each other in vain.

ZeRO reduces gradients in buckets as they arrive, and stage 3 gathers a module's parameters when it is called. Both are
collective: a rank whose micro-batch has no pictures must call the same modules in the same order as one that has some.
So where an encoder's inputs are absent it runs on one spare item, kept from an earlier batch or sent by another rank,
at its place in the program, and its features are added to the embeddings times zero: the loss is the same number, and
every gradient is that of the data alone.
"""

from collections.abc import Sequence

import attrs
from torch import Tensor, distributed, nn

from adapters.megatron.call import Call, Step
from adapters.megatron.inject_step import InjectStep
from adapters.megatron.module import ComposedModel
from adapters.megatron.steps import ScatterStep, UnfilledStep

NOTHING = 0.0
"""What features of a spare item count."""


class IdleTowers:
    """The spare items of one model, and its program rewritten to use them."""

    def __init__(self, model: ComposedModel, spare: dict[str, Tensor] | None = None, *, gathered: bool = True) -> None:
        """Rewrite a model's program.

        Args:
            model: frozen as it will be trained.
            spare: items that another stage of training has kept.
            gathered: whether modules gather parameters when they are called; otherwise frozen towers may rest.
        """
        trained = any(p.requires_grad for name in model.program.encoders for p in getattr(model, name).parameters())
        self.needs: dict[str, tuple[tuple[str, ...], ...]] = {}
        """Node whose features are placed: inputs of the spec that make it run, in each way (pictures, clips)."""
        for owner, needs in model.program.modalities.values() if gathered or trained else ():
            self.needs[owner] = (*self.needs.get(owner, ()), needs)
        self.names = sorted({name for ways in self.needs.values() for needs in ways for name in needs})
        self.spare = spare or {}
        """One item of each input of the spec that a tower reads."""
        self.idle: dict[str, tuple[str, ...]] = {}
        """Nodes of `needs` without data in the forward that is running, and the inputs that are spare."""
        steps: list[Step] = [self.fill]
        for step in model.program.steps:
            if isinstance(step, UnfilledStep):
                steps.append(self.clear)
            if isinstance(step, ScatterStep):
                steps.append(ScatterNothing(step, self))
            else:
                steps.append(InjectNothing(step, self) if isinstance(step, InjectStep) else step)
        model.program = attrs.evolve(model.program, steps=tuple(steps))

    def held(self) -> int:
        """Which inputs have a spare item, a bit for each."""
        return sum(1 << place for place, name in enumerate(self.names) if name in self.spare)

    def keep(self, inputs: dict[str, Tensor], items: int) -> None:
        """Keep one item of what is given, where nothing is kept yet.

        Args:
            inputs: a micro-batch's, by name.
            items: how many pictures it has; inputs of another length are kept whole.
        """
        for needs in (needs for ways in self.needs.values() for needs in ways):
            given = {name: inputs[name] for name in needs if inputs.get(name) is not None}
            if len(given) < len(needs) or needs[0] in self.spare:
                continue
            by_item = all(len(value) == items for value in given.values())
            self.spare |= {name: (value[:1] if by_item else value).cpu() for name, value in given.items()}

    def share(self, held: Sequence[int]) -> None:
        """Get what another rank has and this one lacks; collective, nothing where ranks have the same.

        Args:
            held: what each rank holds.
        """
        for place, name in enumerate(self.names):
            having = [rank for rank, bits in enumerate(held) if bits >> place & 1]
            if 0 < len(having) < len(held):
                sent = [self.spare.get(name)]
                distributed.broadcast_object_list(sent, src=having[0])
                assert sent[0] is not None
                self.spare.setdefault(name, sent[0])

    def fill(self, _model: nn.Module, call: Call) -> None:
        """First step: the spare item where an encoder has nothing to read."""
        self.idle = {}
        for owner, ways in self.needs.items():
            kept = [needs for needs in ways if all(name in self.spare for name in needs)]
            if kept and all(call.values.get(name) is None for needs in ways for name in needs):
                self.idle[owner] = kept[0]
        for needs in self.idle.values():
            call.values |= {name: self.spare[name].to(call.device) for name in needs}

    def clear(self, _model: nn.Module, call: Call) -> None:
        """Before placeholders and places are looked at: an idle encoder has filled none, and was given nothing."""
        call.values |= dict.fromkeys((*self.idle, *(name for needs in self.idle.values() for name in needs)))


@attrs.frozen(eq=False)
class ScatterNothing:
    """A scatter step; of an idle encoder's features, zero times their sum is added everywhere."""

    step: ScatterStep
    towers: IdleTowers

    def __call__(self, model: nn.Module, call: Call) -> None:
        source = self.step.source
        if source not in self.towers.idle:
            self.step(model, call)
            return
        features = call.values[source]
        # The step itself still refuses a batch that counts items it does not bring.
        call.values[source] = None
        self.step(model, call)
        call.values[source] = features
        assert call.embeddings is not None
        call.embeddings = call.embeddings + NOTHING * features.sum()


@attrs.frozen(eq=False)
class InjectNothing:
    """An inject step; of an idle encoder's levels, zero times their sum is added everywhere."""

    step: InjectStep
    towers: IdleTowers

    def __call__(self, model: nn.Module, call: Call) -> None:
        for block in self.step.blocks:
            levels = call.values.get(block.source)
            if block.placed in self.towers.idle and levels is not None:
                assert call.embeddings is not None
                call.embeddings = call.embeddings + NOTHING * levels.sum()
                call.values[block.source] = None
        self.step(model, call)
