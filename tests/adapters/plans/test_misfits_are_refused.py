"""What plans say a decoder cannot run in, the engine refuses to build; what they let pass, it builds."""

import pytest

from adapters.plans.meta_model import alone, fake_rank, meta_model
from composer.plans.layout import Layout
from tests.adapters.plans.activation_cases import graph_of
from tests.components.language.test_misfits import REFUSED, RUN


def build(model: str, layout: Layout) -> str | None:
    """What the first rank's building ends with: an error's kind, or None."""
    with fake_rank(0, layout.model_ranks * layout.fewest_data_ranks, layout):
        try:
            meta_model(graph_of(model), layout)
        except (ValueError, AssertionError) as error:
            return type(error).__name__
    return None


def building(cases: list[tuple[str, Layout]]) -> list[str | None]:
    return [build(model, layout) for model, layout in cases]


@pytest.fixture(scope="module")
def refused() -> list[str | None]:
    return alone(building, [(model, layout) for model, layout, _ in REFUSED])


@pytest.mark.parametrize("number", range(len(REFUSED)), ids=[reason for _, _, reason in REFUSED])
def test_refused(number: int, refused: list[str | None]):
    assert refused[number] is not None


def test_built():
    assert alone(building, list(RUN)) == [None] * len(RUN)
