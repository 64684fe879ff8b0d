"""What plans ask `language.gpt`: costs of a layer, of what stands before and behind the layers, and what cannot run.

Time (work, messages) and memory (saved, transient) are counted by files of their own, each when it is first asked for:
a search asks for the time of many layouts, and for the memory of few.
"""

from collections.abc import Callable
from functools import cached_property, partial
from itertools import chain

from attrs import define, evolve, field

from components.language.costs import memory
from components.language.costs.misfits import misfits
from components.language.costs.tape import Kept
from components.language.gpt_declaration import Gpt
from components.language.work import ends, layer
from composer.plans.costs import Message, Saved, Setting, Work
from composer.plans.layout import Layout


def _nothing() -> tuple[Message, ...]:
    return ()


@define(slots=False, eq=False)
class Deferred:
    """`composer.plans.costs.Counts`, counted when asked for."""

    count_work: Callable[[], tuple[Work, ...]]
    count_messages: Callable[[], tuple[Message, ...]]
    count_kept: Callable[[], Kept]

    @cached_property
    def work(self) -> tuple[Work, ...]:
        """Operations of the forward pass."""
        return self.count_work()

    @cached_property
    def messages(self) -> tuple[Message, ...]:
        """Collectives of the forward pass."""
        return self.count_messages()

    @cached_property
    def _kept(self) -> Kept:
        return self.count_kept()

    @cached_property
    def saved(self) -> tuple[Saved, ...]:
        """What autograd keeps."""
        return self._kept.saved

    @property
    def transient(self) -> int:
        """Bytes alive at once beyond what is kept."""
        return self._kept.transient

    @cached_property
    def kept(self) -> int:
        """Bytes kept where everything trains."""
        return sum(each.bytes for each in self.saved)


@define(slots=False, eq=False)
class GptCosts:
    """`composer.plans.costs.DecoderCosts` of one decoder section; answers are kept."""

    section: Gpt
    _known: dict[tuple[str, str, Setting], Deferred] = field(factory=dict, init=False, repr=False)
    _works: dict[tuple[str, Setting], tuple[Work, ...]] = field(factory=dict, init=False, repr=False)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Kind of every layer, first to last."""
        return self.section.layers.order

    @cached_property
    def num_experts(self) -> int:
        """0: no experts."""
        found = (self.section.layers.kinds[kind].ffn.experts for kind in self.kinds)
        return max((part.num_experts for part in found if part is not None), default=0)

    def layer(self, kind: str, setting: Setting) -> Deferred:
        """One layer, forward, everything training."""
        return self._once(
            ("layer", kind, setting),
            partial(self._work_of_layer, kind, setting),
            partial(layer.messages_of_layer, self.section, kind, setting),
            partial(memory.of_layer, self.section, kind, setting),
        )

    def embedding(self, setting: Setting) -> Deferred:
        """Token embeddings, and the placement of features in them."""
        return self._once(
            ("embedding", "", setting),
            partial(ends.work_of_embedding, self.section, setting),
            partial(ends.messages_of_embedding, self.section, setting),
            partial(memory.of_embedding, self.section, setting),
        )

    def stage(self, setting: Setting) -> Deferred:
        """Mask metadata, dense masks and rotations, which every stage makes for itself."""
        return self._once(
            ("stage", "", setting),
            partial(ends.work_of_stage, self.section, setting),
            _nothing,
            partial(memory.of_stage, self.section, setting),
        )

    def head(self, setting: Setting) -> Deferred:
        """Final norm, logits and loss."""
        return self._once(
            ("head", "", setting),
            partial(ends.work_of_head, self.section, setting),
            partial(ends.messages_of_head, self.section, setting),
            partial(memory.of_head, self.section, setting),
        )

    def misfits(self, layout: Layout) -> tuple[str, ...]:
        """Why the decoder cannot run in a layout; empty if it can."""
        return misfits(self.section, layout)

    def _once(
        self,
        key: tuple[str, str, Setting],
        work: Callable[[], tuple[Work, ...]],
        messages: Callable[[], tuple[Message, ...]],
        kept: Callable[[], Kept],
    ) -> Deferred:
        if key not in self._known:
            self._known[key] = Deferred(work, messages, kept)
        return self._known[key]

    def _work_of_layer(self, kind: str, setting: Setting) -> tuple[Work, ...]:
        """All but the experts is the same however those are dealt out, and all layers have the same experts."""
        layout = setting.layout
        apart = Layout(tp=layout.tp, cp=layout.cp, sequence_parallel=layout.sequence_parallel)
        beside = self._part(kind, evolve(setting, layout=apart), layer.work_beside_experts)
        has_experts = self.section.layers.kinds[kind].ffn.experts is not None
        experts = self._part("", setting, layer.work_of_experts) if has_experts else ()
        return tuple(chain(beside, experts))

    def _part(
        self, kind: str, setting: Setting, count: Callable[[Gpt, str, Setting], tuple[Work, ...]]
    ) -> tuple[Work, ...]:
        key = (kind, setting)
        if key not in self._works:
            self._works[key] = count(self.section, kind or self._mixed, setting)
        return self._works[key]

    @cached_property
    def _mixed(self) -> str:
        """A layer kind with experts."""
        kinds = self.section.layers.kinds
        return next(kind for kind in self.kinds if kinds[kind].ffn.experts is not None)
