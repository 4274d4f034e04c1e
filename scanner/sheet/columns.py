"""The columns of a contact sheet: heading, one line of explanation, and the panel that each image puts there."""

import dataclasses
from collections.abc import Callable, Iterator

from PIL import Image

from memscan.scanner.errors import RowError, UsageError
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.pictures.decode import decode_picture
from memscan.scanner.results.schema import SCORE_COLUMNS
from memscan.scanner.sheet.entries import Entry, Selection
from memscan.scanner.sheet.panels import heat_map, overlay, photo
from memscan.scanner.sheet.scale import number
from memscan.scanner.terminal import brief

_IMAGE = {
    (False, False): ("generated image", "what the model makes of the prompt"),
    (True, False): ("image", "what the model makes of the prompt, or the row brought"),
    (True, True): ("image", "what the row brought"),
}
"""Heading and explanation, where any and where all of the rows brought an image."""
_SUMMARIES = {"mean": "mean", "max": "maximum", "q99": "0.99 quantile"}


@dataclasses.dataclass(frozen=True)
class Column:
    """`panel` draws an image's panel, or gives None; a heat map is of a `metric`, and may have a `threshold` on it."""

    heading: str
    explanation: str
    panel: Callable[[Entry], Image.Image | None]
    metric: str | None = None
    threshold: float | None = None


def columns(selection: Selection) -> Iterator[Column]:
    """The columns for which at least one image has something to show, from what is known to what was found."""
    entries = selection.entries
    if any(_training(entry) for entry in entries):
        yield Column("training image", "one that the model has learned from", _training)
    if any(entry.truth and entry.truth.mask is not None for entry in entries):
        yield Column("ground truth", "the part that is truly memorized", _truth)
    if any(entry.generated for entry in entries):
        yield Column(*_IMAGE[any(entry.given for entry in entries), all(entry.given for entry in entries)], _generated)
    for name in entries[0].maps:
        yield _heat_column(name, selection.threshold if name == selection.mask_map else None)
    if selection.threshold is not None:
        yield Column("mask", f"where {selection.mask_map} is {number(selection.threshold)} or more", _found)


def score_explanation(score_name: str) -> str:
    """What the score of a run is, by the name of its column."""
    metric = SCORE_COLUMNS[score_name]
    if metric.kind == "map":
        return f"{_SUMMARIES[score_name.removeprefix(f'{metric.name}_')]} of {metric.name}"
    return metric.name if metric.sign > 0 else f"{metric.name}, its sign turned"


def _heat_column(name: str, threshold: float | None) -> Column:
    return Column(name, METRICS[name].says, lambda entry: heat_map(entry.maps[name], name), name, threshold)


def _training(entry: Entry) -> Image.Image | None:
    image = _training_image(entry)
    return image and photo(image)


def _truth(entry: Entry) -> Image.Image | None:
    if entry.truth is None or entry.truth.mask is None:
        return None
    return overlay(entry.truth.mask, _training_image(entry) or entry.generated)


def _generated(entry: Entry) -> Image.Image | None:
    return entry.generated and photo(entry.generated)


def _found(entry: Entry) -> Image.Image | None:
    return None if entry.mask is None else overlay(entry.mask, entry.generated)


def _training_image(entry: Entry) -> Image.Image | None:
    if entry.truth is None or entry.truth.training_image is None:
        return None
    try:
        return decode_picture(entry.truth.training_image)
    except RowError as error:
        shown = brief(repr(entry.prompt))
        raise UsageError(f"the ground truth's training image for {shown} cannot be decoded ({error})") from error
