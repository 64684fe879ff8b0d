"""Gradient reaches exactly the nodes that are not frozen, whichever are."""

from itertools import chain, combinations

from adapters.parity.pair import Pair, loss
from adapters.prove.report import FreezeProof

# What each argument of `ComposedModel.freeze` freezes.
ARGUMENTS = {
    "tower": "freeze_vision_model",
    "projector": "freeze_vision_projection",
    "decoder": "freeze_language_model",
}


def prove_freezing(pair: Pair) -> tuple[FreezeProof, ...]:
    """Every choice of frozen roles but all of them."""
    present = [role for role in ARGUMENTS if role in _roles(pair).values()]
    choices = chain.from_iterable(combinations(present, count) for count in range(len(present)))
    free: set[str] = set()
    proofs = []
    for roles in choices:
        proof, reached = _prove(pair, roles, free)
        free = free or reached
        proofs.append(proof)
    return tuple(proofs)


def _roles(pair: Pair) -> dict[str, str]:
    return {name: pair.graph.component(name).role for name in pair.graph.nodes}


def _prove(pair: Pair, roles: tuple[str, ...], free: set[str]) -> tuple[FreezeProof, set[str]]:
    """Freeze, step back once, compare with the parameters that gradient reaches when all train (`free`)."""
    model = pair.ours
    model.requires_grad_(True)
    model.zero_grad(set_to_none=True)
    getattr(model, "freeze")(**{ARGUMENTS[role]: True for role in roles})  # noqa: B009 (a Module's attributes are untyped)
    try:
        value = loss(model, pair.batch)
        if value.requires_grad:
            value.backward()
        reached = {
            name
            for name, parameter in model.named_parameters()
            if parameter.grad is not None and bool(parameter.grad.any())
        }
    finally:
        model.requires_grad_(True)
        model.zero_grad(set_to_none=True)
    frozen = tuple(node for node, role in _roles(pair).items() if role in roles)
    expected = {name for name in (free or reached) if name.partition(".")[0] not in frozen}
    problems = [f"gradient reaches {name}" for name in sorted(reached - expected)]
    problems += [f"no gradient reaches {name}" for name in sorted(expected - reached)]
    nodes = tuple(node for node in pair.graph.nodes if any(name.startswith(f"{node}.") for name in reached))
    problems += [f"no gradient reaches {node}" for node in pair.graph.nodes if node not in (*nodes, *frozen)]
    return FreezeProof(frozen, nodes, tuple(problems)), reached
