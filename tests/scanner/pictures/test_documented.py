"""docs/images.md says what the code does."""

from pathlib import Path
from typing import get_args

from memscan.scanner.input.image_files import MAX_IMAGE
from memscan.scanner.pictures.decode import FORMATS, MAX_PIXELS
from memscan.scanner.settings import Fit

PAGE = (Path(__file__).parents[3] / "docs" / "images.md").read_text()


def test_formats_and_bounds_are_those_of_the_code() -> None:
    assert f"Formats are {', '.join(FORMATS[:-1])} and {FORMATS[-1]}," in PAGE
    assert f"{MAX_IMAGE} bytes of file, {MAX_PIXELS} pixels" in PAGE


def test_rules_are_those_of_the_option() -> None:
    rules = [line.split("`")[1] for line in PAGE.split("| `--fit` |")[1].splitlines() if line.startswith("| `")]
    assert rules == list(get_args(Fit))
