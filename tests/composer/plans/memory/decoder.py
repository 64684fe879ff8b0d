"""A made-up model for arithmetic: layers of two kinds whose costs are round numbers."""

from composer.masks import parse
from composer.plans.costs import Costs, Saved, Setting
from composer.plans.inventory import EncoderCosts, Inventory, Parameter, Polynomial
from composer.plans.layout import Layout
from composer.plans.model import PlannedModel

WIDTH, WORDS = 10, 100


class RoundCosts:
    """Bytes per token: a layer keeps 4 whatever trains, 2 for the experts' weights; the logits 50."""

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self.kinds, self.kv_heads, self.num_experts = kinds, 8, 8

    def layer(self, kind: str, setting: Setting) -> Costs:
        tokens = _tokens(setting) * (1 if kind == "near" else 10)
        saved = (Saved("attention", 4 * tokens), Saved("experts", 2 * tokens, "weights"))
        return Costs(saved=saved, transient=7 * tokens)

    def embedding(self, setting: Setting) -> Costs:
        return Costs(saved=(Saved("embeddings", 8 * _tokens(setting), "weights"),))

    def stage(self, setting: Setting) -> Costs:
        return Costs(saved=(Saved("masks", _tokens(setting)),), transient=3 * _tokens(setting))

    def head(self, setting: Setting) -> Costs:
        tokens = _tokens(setting)
        saved = (Saved("norms", tokens), Saved("head", tokens, "weights"), Saved("logits", 50 * tokens))
        return Costs(saved=saved, transient=20 * tokens)

    def misfits(self, layout: Layout) -> tuple[str, ...]:
        return () if layout.tp <= self.kv_heads else ("too many",)


def _tokens(setting: Setting) -> int:
    return setting.micro_batch * setting.seq // setting.layout.cp


def model(*kinds: str, trains: tuple[str, ...] | None = None, tied: bool = True) -> PlannedModel:
    """trains: beginnings of names; None: everything."""
    parameters = [
        Parameter("tower.weight", "tower", "tower", (30, 10)),
        Parameter("projector.weight", "projector", "projector", (20, 10)),
        Parameter("decoder.table", "decoder", "embeddings", (WORDS, WIDTH), split=0),
        Parameter("decoder.norm", "decoder", "norms", (WIDTH,)),
    ]
    if not tied:
        parameters.append(Parameter("decoder.output", "decoder", "head", (WORDS, WIDTH), split=0))
    for layer in range(len(kinds)):
        name = f"decoder.layers.{layer}"
        parameters.append(Parameter(f"{name}.attention", "decoder", "attention", (40, 10), split=0, layer=layer))
        parameters += [
            Parameter(f"{name}.experts.{n}", "decoder", "experts", (16, 10), split=0, layer=layer, expert=n)
            for n in range(8)
        ]
    chosen = [each.name for each in parameters if trains is None or each.name.startswith(trains)]
    nothing = Polynomial()
    saved, frozen = Polynomial(linear=6), Polynomial(linear=3)
    encoders = tuple(
        EncoderCosts(node, nothing, nothing, nothing, saved, nothing, frozen, nothing, 1, traced=True, reads=reads)
        for node, reads in (("tower", ()), ("projector", ("tower",)))
    )
    rules = {kind: parse("causal") for kind in kinds}
    inventory = Inventory("0" * 16, "made up", tuple(parameters), encoders, tied=tied)
    return PlannedModel(inventory, "decoder", RoundCosts(kinds), rules, frozenset(chosen))
