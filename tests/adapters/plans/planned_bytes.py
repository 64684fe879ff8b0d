"""What the plan says of a case: bytes that one micro-batch keeps on each pipeline rank."""

from functools import cache

from adapters.plans.inventory import inventory
from composer.edges import MaskEdge
from composer.plans.inventory import Inventory
from composer.plans.job import Job
from composer.plans.memory.activations import stage_bytes
from composer.plans.memory.ranks import fullest
from composer.plans.memory.setting import setting_of
from composer.plans.memory.towers import Images
from composer.plans.model import PlannedModel
from composer.plans.placement import place
from tests.adapters.plans.activation_cases import SIDE, Case, graph_of


@cache
def known_of(model: str) -> Inventory:
    """Made once: these tests have an empty cache each."""
    return inventory(graph_of(model))


@cache
def planned_model(name: str, trains: tuple[str, ...]) -> PlannedModel:
    """A model of `activation_cases`, whose named nodes train."""
    graph, known = graph_of(name), known_of(name)
    decoder = graph.decoder()
    costs = graph.component(decoder.name).costs
    assert costs is not None
    trained = frozenset(each.name for each in known.parameters if each.node in trains)
    rules = next(edge.rules for edge in graph.edges_to(decoder.name) if isinstance(edge, MaskEdge))
    return PlannedModel(known, decoder.name, costs(decoder.config), dict(rules), trained)


def job_of(case: Case) -> Job:
    return Job(
        gpus=2,
        seq=case.seq,
        global_batch=8,
        images=case.images,
        image_tokens=SIDE**2,
        precision=case.precision,  # type: ignore[arg-type]
        implementation="local",
    )


def planned_peak(case: Case) -> int:
    """Of a step on one rank, without parameters and their states."""
    model, job = planned_model(case.model, case.trains), job_of(case)
    setting = setting_of(model, job, case.layout, case.micro_batch, "cpu")
    [chunk] = place(len(model.decoder.kinds), case.layout)
    return fullest((stage_bytes(model, chunk, setting, Images.of(job)),), (1,)).total


def planned(case: Case) -> list[dict[str, int]]:
    """Of every pipeline rank: `all`, the sum, and its parts."""
    model, job = planned_model(case.model, case.trains), job_of(case)
    setting = setting_of(model, job, case.layout, case.micro_batch, "cpu")
    answers = []
    for chunk in place(len(model.decoder.kinds), case.layout):
        stage = stage_bytes(model, chunk, setting, Images.of(job))
        parts = {name: getattr(stage, name) for name in ("layers", "towers", "masks", "logits")}
        # Of what travels between stages, the output is not counted.
        parts["received"] = stage.sent if chunk.last else 0
        answers.append(parts | {"all": sum(parts.values())})
    return answers
