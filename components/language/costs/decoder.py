"""What plans ask `language.gpt`: costs of a layer, of what stands before and behind the layers, and what cannot run.

Time (work, messages) and memory (saved, transient) are counted by files of their own and meet here.
"""

from collections.abc import Callable
from functools import cached_property

from attrs import field, frozen

from components.language.costs import memory
from components.language.costs.misfits import misfits
from components.language.gpt_declaration import Gpt
from components.language.work import ends, layer
from composer.plans.costs import Costs, Message, Setting, Work
from composer.plans.layout import Layout


@frozen
class Counting:
    """Who counts work and messages: of a layer kind (section, kind, setting), of the rest (section, setting)."""

    work_of_layer: Callable[[Gpt, str, Setting], tuple[Work, ...]] = layer.work_of_layer
    messages_of_layer: Callable[[Gpt, str, Setting], tuple[Message, ...]] = layer.messages_of_layer
    work_of_embedding: Callable[[Gpt, Setting], tuple[Work, ...]] = ends.work_of_embedding
    messages_of_embedding: Callable[[Gpt, Setting], tuple[Message, ...]] = ends.messages_of_embedding
    work_of_stage: Callable[[Gpt, Setting], tuple[Work, ...]] = ends.work_of_stage
    work_of_head: Callable[[Gpt, Setting], tuple[Work, ...]] = ends.work_of_head
    messages_of_head: Callable[[Gpt, Setting], tuple[Message, ...]] = ends.messages_of_head


@frozen(slots=False)
class GptCosts:
    """`composer.plans.costs.DecoderCosts` of one decoder section; answers are kept."""

    section: Gpt
    counting: Counting = field(factory=Counting)
    _known: dict[tuple[str, str, Setting], Costs] = field(factory=dict, init=False, eq=False, repr=False)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Kind of every layer, first to last."""
        return self.section.layers.order

    @cached_property
    def kv_heads(self) -> int:
        """Fewest key/value heads of a layer."""
        return min(self.section.layers.kinds[kind].attention.kv_heads for kind in self.kinds)

    @cached_property
    def num_experts(self) -> int:
        """0: no experts."""
        found = (self.section.layers.kinds[kind].ffn.experts for kind in self.kinds)
        return max((part.num_experts for part in found if part is not None), default=0)

    def layer(self, kind: str, setting: Setting) -> Costs:
        """One layer, forward, everything training."""
        return self._once("layer", kind, setting, self._layer)

    def embedding(self, setting: Setting) -> Costs:
        """Token embeddings, and the placement of features in them."""
        return self._once("embedding", "", setting, self._embedding)

    def stage(self, setting: Setting) -> Costs:
        """Mask metadata, dense masks and rotations, which every stage makes for itself."""
        return self._once("stage", "", setting, self._stage)

    def head(self, setting: Setting) -> Costs:
        """Final norm, logits and loss."""
        return self._once("head", "", setting, self._head)

    def misfits(self, layout: Layout) -> tuple[str, ...]:
        """Why the decoder cannot run in a layout; empty if it can."""
        return misfits(self.section, layout)

    def _once(self, what: str, kind: str, setting: Setting, count: Callable[[str, Setting], Costs]) -> Costs:
        key = (what, kind, setting)
        if key not in self._known:
            self._known[key] = count(kind, setting)
        return self._known[key]

    def _layer(self, kind: str, setting: Setting) -> Costs:
        kept = memory.of_layer(self.section, kind, setting)
        work = self.counting.work_of_layer(self.section, kind, setting)
        messages = self.counting.messages_of_layer(self.section, kind, setting)
        return Costs(work, kept.saved, messages, kept.transient)

    def _embedding(self, _: str, setting: Setting) -> Costs:
        kept = memory.of_embedding(self.section, setting)
        work = self.counting.work_of_embedding(self.section, setting)
        messages = self.counting.messages_of_embedding(self.section, setting)
        return Costs(work, kept.saved, messages, kept.transient)

    def _stage(self, _: str, setting: Setting) -> Costs:
        kept = memory.of_stage(self.section, setting)
        return Costs(self.counting.work_of_stage(self.section, setting), kept.saved, (), kept.transient)

    def _head(self, _: str, setting: Setting) -> Costs:
        kept = memory.of_head(self.section, setting)
        work = self.counting.work_of_head(self.section, setting)
        messages = self.counting.messages_of_head(self.section, setting)
        return Costs(work, kept.saved, messages, kept.transient)
