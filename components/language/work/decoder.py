"""A decoder's costs without what autograd keeps: all that step time needs."""

from functools import cached_property

from attrs import field, frozen

from components.language.gpt_declaration import Gpt
from components.language.work import ends
from components.language.work.layer import messages_of_layer, work_of_layer
from composer.plans.costs import Costs, Setting
from composer.plans.layout import Layout


@frozen(slots=False)
class GptWork:
    """`composer.plans.costs.DecoderCosts` with work and messages only; answers are kept."""

    section: Gpt
    _known: dict[tuple[str, Setting], Costs] = field(factory=dict, init=False, eq=False, repr=False)

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
        if (kind, setting) not in self._known:
            work = work_of_layer(self.section, kind, setting)
            self._known[kind, setting] = Costs(work, (), messages_of_layer(self.section, kind, setting))
        return self._known[kind, setting]

    def embedding(self, setting: Setting) -> Costs:
        """Token embeddings, and the placement of features in them."""
        return Costs(
            ends.work_of_embedding(self.section, setting), (), ends.messages_of_embedding(self.section, setting)
        )

    def stage(self, setting: Setting) -> Costs:
        """Mask metadata and rotations, which every stage makes for itself."""
        return Costs(ends.work_of_stage(self.section, setting))

    def head(self, setting: Setting) -> Costs:
        """Final norm, logits and loss."""
        return Costs(ends.work_of_head(self.section, setting), (), ends.messages_of_head(self.section, setting))

    def misfits(self, layout: Layout) -> tuple[str, ...]:
        """Not this file's: see `components.language.costs`."""
        del layout
        return ()
