"""Who may attend to whom."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from attrs import field, frozen

from composer import masks
from composer.edges.edge import Edge, Site
from composer.finding import Finding
from composer.suggestion import suggestion


def _as_rules(value: Mapping[str, masks.Rule | str]) -> dict[str, masks.Rule]:
    return {kind: masks.parse(rule) if isinstance(rule, str) else rule for kind, rule in value.items()}


@frozen
class MaskEdge(Edge):
    """Makes one attention mask per layer kind from token ids, by rule."""

    kind: ClassVar[str] = "mask"
    reads: ClassVar[tuple[str, ...]] = ("tokens",)
    writes: ClassVar[tuple[str, ...]] = ("mask",)

    rules: dict[str, masks.Rule] = field(
        converter=_as_rules,
        metadata={
            "description": "A rule for each layer kind: causal, bidirectional, window(n), chunk(n), "
            "same_run(token, ...), same_document, prefix(token), joined by ~ & | in this order of precedence."
        },
    )

    def aligned(self, source_rank: int, target_rank: int) -> tuple[tuple[int, int], ...]:
        """Batch and sequence."""
        return tuple((i, i) for i in range(min(source_rank, target_rank, 2)))

    def check(self, site: Site) -> Iterator[Finding]:
        """A rule for every layer kind, none for others, and only known tokens."""
        for kind, rule in self.rules.items():
            for name in masks.tokens(rule):
                if name not in site.tokens:
                    message = f"unknown token {name!r} in {rule}.{suggestion(name, site.tokens)}"
                    yield Finding(f"{site.path}.rules.{kind}", message)
        kinds = site.layer_kinds
        if kinds is None:
            return
        for kind in self.rules:
            if kind not in kinds:
                message = f"{self.target.owner} has no layers of kind {kind!r}.{suggestion(kind, kinds)}"
                yield Finding(f"{site.path}.rules.{kind}", message)
        for kind, fixed in site.fixed_rules.items():
            if self.rules.get(kind, masks.parse(fixed)) != masks.parse(fixed):
                message = (
                    f"{self.rules[kind]}: {kind} layers have no attention, and see what came before. Write {fixed}."
                )
                yield Finding(f"{site.path}.rules.{kind}", message)
        missing = [kind for kind in kinds if kind not in self.rules]
        if missing:
            message = f"no rule for the {', '.join(missing)} layers of {self.target.owner}."
            yield Finding(f"{site.path}.rules", message)
