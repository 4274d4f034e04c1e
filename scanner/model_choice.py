"""Which bundle is scanned where none is named: the environment's, the working folder's, or the embedded toy.

In this order: the path given, `MEMSCAN_MODEL`, `model` in `memscan.toml` of the working folder, the embedded toy model.
Where a model is required (by argument, `MEMSCAN_REQUIRE_MODEL=1`, or `require_model = true` in the file), the toy is
refused: a nightly scan that has lost its option must not pass for one of the customer's model.
"""

import os
from pathlib import Path
from typing import NamedTuple

from memscan.scanner import embedded
from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.configuration import read_configuration
from memscan.scanner.errors import UsageError
from memscan.scanner.place import Place, Url, place_of

VARIABLE, REQUIRE_VARIABLE = "MEMSCAN_MODEL", "MEMSCAN_REQUIRE_MODEL"
TESTBED = "testbed"
"""The name of the embedded toy model: whoever gives it asks for the toy on purpose."""

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


class ChosenModel(NamedTuple):
    """A bundle's folder or URL, and who named it: "--model", the variable, the file, or nobody."""

    path: Place
    named_by: str | None

    @property
    def is_toy(self) -> bool:
        return self.path == embedded.BUNDLE

    def open(self, *, verify: bool = True) -> Bundle:
        """The bundle, as `open_bundle`, fetched first from an object store; an error says who named it, if others did.

        Raises:
            UsageError: as `open_bundle`.
        EnvironmentFailed, OSError: as `fetched_bundle`.
        """
        try:
            return open_bundle(_folder_of(self.path), verify=verify)
        except UsageError as error:
            if self.named_by in (None, "--model"):
                raise
            raise type(error)(f"{error} ({self.path} is the model by {self.named_by})") from error


def choose_model(given: str | Place | None = None, *, require: bool = False, file: Path | None = None) -> ChosenModel:
    """The model to scan.

    Args:
        given: a bundle's folder or URL, or "testbed", or None to look where this module says.
        require: refuse to fall back to the toy.
        file: takes the place of `memscan.toml` of the working folder.

    Raises:
        UsageError: none is named though one is required; the file or a variable cannot be understood.
    """
    settings = read_configuration(file)
    sources = (("--model", given), (VARIABLE, os.environ.get(VARIABLE)), (str(settings.file), settings.model))
    for source, value in sources:
        if value:
            return ChosenModel(embedded.BUNDLE if str(value) == TESTBED else place_of(value), source)
    if require or _required_by_environment() or settings.require_model:
        raise UsageError(
            f"no model is named, and one is required: give --model DIR, or set {VARIABLE}, "
            f"or `model` in {settings.file}"
        )
    return ChosenModel(embedded.BUNDLE, None)


def _folder_of(place: Place) -> Path:
    if not isinstance(place, Url):
        return place
    from memscan.scanner.objects.fetch import fetched_bundle

    return fetched_bundle(place)


def _required_by_environment() -> bool:
    value = os.environ.get(REQUIRE_VARIABLE, "").strip().lower()
    if value not in (*_TRUE, *_FALSE):
        raise UsageError(f"{REQUIRE_VARIABLE}={value}: expected 1 or 0")
    return value in _TRUE
