"""Picture files of a data folder."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from adapters.training.problems import DataError


def use_picture[T](path: Path, where: str, use: Callable[[Image.Image], T]) -> T:
    """What `use` makes of a picture.

    Raises:
        DataError: no such picture, no picture, or a ValueError of `use`; starts with `where`.
    """
    try:
        with Image.open(path) as image:
            return use(image)
    except FileNotFoundError as error:
        raise DataError(f"{where}: no picture {path}.") from error
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{where}: {path} is no readable picture.") from error
    except ValueError as error:
        raise DataError(f"{where}: {path}: {error}") from error
