"""What plans ask `language.gpt`: costs of a layer, of what stands before and behind the layers, and what cannot run.

Time (work, messages) and memory (saved, transient) are counted by files of their own, each when it is first asked for:
a search asks for the time of many layouts, and for the memory of few.
"""

from collections.abc import Callable
from functools import partial

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


@define(eq=False)
class Deferred:
    """`composer.plans.costs.Counts`, counted when asked for."""

    count_work: Callable[[], tuple[Work, ...]]
    count_messages: Callable[[], tuple[Message, ...]]
    count_kept: Callable[[], Kept]
    _work: tuple[Work, ...] | None = field(default=None, init=False)
    _messages: tuple[Message, ...] | None = field(default=None, init=False)
    _kept: Kept | None = field(default=None, init=False)

    @property
    def work(self) -> tuple[Work, ...]:
        """Operations of the forward pass."""
        if self._work is None:
            self._work = self.count_work()
        return self._work

    @property
    def messages(self) -> tuple[Message, ...]:
        """Collectives of the forward pass."""
        if self._messages is None:
            self._messages = self.count_messages()
        return self._messages

    @property
    def saved(self) -> tuple[Saved, ...]:
        """What autograd keeps."""
        return self._memory().saved

    @property
    def transient(self) -> int:
        """Bytes alive at once beyond what is kept."""
        return self._memory().transient

    @property
    def kept(self) -> int:
        """Bytes kept where everything trains."""
        return sum(each.bytes for each in self.saved)

    def _memory(self) -> Kept:
        if self._kept is None:
            self._kept = self.count_kept()
        return self._kept


@define(eq=False)
class GptCosts:
    """`composer.plans.costs.DecoderCosts` of one decoder section; answers are kept."""

    section: Gpt
    kinds: tuple[str, ...] = field(init=False)
    """Kind of every layer, first to last."""
    mixed: str | None = field(init=False)
    """A layer kind with experts; they are the same in all."""
    num_experts: int = field(init=False)
    """0: no experts."""
    _known: dict[tuple[str, str, Setting], Deferred] = field(factory=dict, init=False, repr=False)
    _works: dict[tuple[str, Setting], tuple[Work, ...]] = field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """What the section says."""
        layers = self.section.layers
        self.kinds = layers.names
        found = ((name, layers.whole(name).ffn.experts) for name in dict.fromkeys(self.kinds))
        self.mixed, experts = next(((name, part) for name, part in found if part is not None), (None, None))
        self.num_experts = 0 if experts is None else experts.num_experts

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
        if self.section.layers.whole(kind).ffn.experts is None or self.mixed is None:
            return beside
        return beside + self._part(self.mixed, setting, layer.work_of_experts, "experts")

    def _part(
        self,
        kind: str,
        setting: Setting,
        count: Callable[[Gpt, str, Setting], tuple[Work, ...]],
        what: str = "beside experts",
    ) -> tuple[Work, ...]:
        key = (f"{what} of {kind}", setting)
        if key not in self._works:
            self._works[key] = count(self.section, kind, setting)
        return self._works[key]
