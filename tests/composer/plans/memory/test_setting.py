"""Rules that Transformer Engine has a kernel for, as the run decides; and which integers masks need."""

import pytest

from adapters.transformer_engine.rules import NoKernel, kernel_mask
from components.fusion.mask_metadata import MetadataLayout
from composer.masks import parse
from composer.plans.memory.setting import mask_fields
from composer.plans.pairs import is_causal

RULES = (
    "causal",
    "causal & window(16)",
    "window(4) & causal & same_document",
    "window(16)",
    "bidirectional",
    "same_document",
    "(causal | same_run(image)) & window(16)",
    "causal & chunk(8)",
    "~causal",
    "prefix(image) | causal",
)


@pytest.mark.parametrize("text", RULES)
def test_as_the_run_decides(text: str):
    rule = parse(text)
    try:
        kernel_mask(rule)
        expected = True
    except NoKernel:
        expected = False
    assert is_causal(rule) is expected


class _Rules:
    """All that is read of a planned model here."""

    def __init__(self, *texts: str, levels: tuple[int, ...] = ()) -> None:
        self.rules = {str(number): parse(text) for number, text in enumerate(texts)}
        self.levels = levels


@pytest.mark.parametrize(
    "texts",
    [
        ("causal",),
        ("causal | same_run(image)", "causal"),
        ("same_run(image) | same_run(video, image)", "same_run(image, video)"),
        ("prefix(image) | causal", "same_run(image)"),
    ],
)
@pytest.mark.parametrize("levels", [(), (0, 1)])
def test_integers_of_masks(texts: tuple[str, ...], levels: tuple[int, ...]):
    model = _Rules(*texts, levels=levels)
    injected = [("image",), ("video",)] if levels else []
    layout = MetadataLayout.for_rules(model.rules.values(), {"image": 1, "video": 2}, injected)
    assert mask_fields(model) == layout.num_fields  # type: ignore[arg-type]
