from importlib.metadata import version

import pytest
from packaging.requirements import InvalidRequirement, Requirement

from composer.requires import is_requirement, unmet

GOOD = [
    "transformers",
    "transformers>=5.23",
    "transformers >= 5.23, <6",
    "transformers~=5.23",
    "transformers==5.*",
    "transformers!=5.24.1",
    "transformers>=5.23.0rc1",
    "transformers>=5.23.dev0",
    "a-b_c.d<2",
]
BAD = [
    "",
    ">=5",
    "transformers=>5",
    "transformers=5",
    "transformers>=",
    "transformers 5",
    "-x",
    "a>=x",
]


@pytest.mark.parametrize("text", GOOD)
def test_requirements(text: str) -> None:
    assert is_requirement(text)
    Requirement(text)


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_requirement(text: str) -> None:
    assert not is_requirement(text)
    with pytest.raises(InvalidRequirement):
        Requirement(text)
    with pytest.raises(ValueError, match="is no requirement"):
        unmet(text)


def test_what_is_installed() -> None:
    installed = version("attrs")
    assert unmet("attrs") is None
    assert unmet("attrs>=20, <999") is None
    assert unmet("attrs>=999", "small") == f"small needs attrs>=999, installed is {installed}"
    assert unmet("no-such-package-here>=1") == "this spec needs no-such-package-here>=1, and it is not installed"
