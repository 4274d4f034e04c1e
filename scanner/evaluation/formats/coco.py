"""COCO JSON, as tools for annotation export it: an image is known by its prompt, its id, or memscan's own file name.

    images        id, height, width; prompt or caption, and seed, where they are there; else file_name, if it is that of
                  an image which `memscan run --images` kept: it says row and seed
    annotations   image_id and segmentation: a run-length dictionary {"size", "counts"}, or a list of polygons

The mask of an image is the union of its annotations. An image without any has nothing memorized; a crowd is a mask as
any other.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.formats.fields import named, prompt_of, said, whole
from memscan.scanner.evaluation.formats.merge import ALL, NOTHING, union
from memscan.scanner.evaluation.formats.polygons import polygon_mask
from memscan.scanner.evaluation.truth import Kind, Truth
from memscan.scanner.evaluation.truth_masks import condensed, read_mask
from memscan.scanner.records import RecordError, parse_json
from memscan.scanner.results.rle import MAX_PIXELS

_OWN = re.compile(r"(?:.*/)?(\d{8,18})-(\d{1,18})\.(?:png|jpe?g|webp)", re.IGNORECASE)
_PROMPT = ("prompt", "caption")


def read_coco(path: Path) -> tuple[list[Truth], list[str]]:
    """The truths of a file, one for each image, and what is to be said of it.

    Raises:
        UsageError: it is not COCO JSON, or an image or annotation cannot be right.
    """
    images, annotations = _parts(path)
    masks: dict[Any, list[NDArray[np.bool_]]] = {}
    sizes = {}
    for number, image in enumerate(images):
        with_error = f"{path}: image {number}"
        try:
            key = _key(image.get("id"))
            if key in sizes:
                raise ValueError(f"its id {said(key)} is that of another image")
            sizes[key] = _size(image)
        except ValueError as error:
            raise UsageError(f"{with_error}: {error}") from error
    for number, annotation in enumerate(annotations):
        try:
            key = _key(annotation.get("image_id"))
            if key not in sizes:
                raise ValueError(f"its image {said(key)} is not among the images")
            mask = condensed(_mask(annotation.get("segmentation"), *sizes[key]))
            if not mask.any():
                raise ValueError("its mask is empty")
            masks.setdefault(key, []).append(mask)
        except ValueError as error:
            raise UsageError(f"{path}: annotation {number}: {error}") from error
    truths = []
    for number, image in enumerate(images):
        try:
            truths.append(_truth(image, masks.get(image["id"], [])))
        except ValueError as error:
            raise UsageError(f"{path}: image {number}: {error}") from error
    without = len(truths) - len(masks)
    return truths, [f"{len(truths)} images, {without} of them without an annotation: nothing is memorized in these"]


def _parts(path: Path) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    try:
        value = parse_json(path.read_bytes())
    except RecordError as error:
        raise UsageError(f"{path} is {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path} is no COCO JSON: it is no object")
    parts = []
    for name in ("images", "annotations"):
        part = value.get(name)
        if not isinstance(part, list) or not all(isinstance(one, dict) for one in part):
            raise UsageError(f"{path} is no COCO JSON: its {name} are no list of objects")
        parts.append(part)
    return parts[0], parts[1]


def _key(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"the id of an image is {said(value)}, neither a number nor a text")
    return value


def _size(image: Mapping[str, Any]) -> tuple[int, int]:
    height, width = (whole(name, image.get(name), MAX_PIXELS, 1) for name in ("height", "width"))
    if height * width > MAX_PIXELS:
        raise ValueError(f"{height} x {width} pixels are too many: {MAX_PIXELS} are the most")
    return height, width


def _mask(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    if isinstance(segmentation, dict):
        mask = read_mask(segmentation, None, None)
        if mask.shape != (height, width):
            raise ValueError(
                f"its mask is of {mask.shape[0]} x {mask.shape[1]} pixels, its image of {height} x {width}"
            )
        return mask
    if not isinstance(segmentation, list) or not segmentation or not all(isinstance(one, list) for one in segmentation):
        raise ValueError(f"its segmentation is {said(segmentation)}, neither a run-length dictionary nor polygons")
    return union(polygon_mask(one, height, width) for one in segmentation)


def _truth(image: Mapping[str, Any], masks: list[NDArray[np.bool_]]) -> Truth:
    column = named(list(image), _PROMPT)
    prompt = None if column is None or image[column] is None else prompt_of(image[column])
    seed = None if image.get("seed") is None else whole("seed", image["seed"])
    own = _OWN.fullmatch(image["file_name"]) if isinstance(image.get("file_name"), str) else None
    row = None
    if prompt is None and own is not None:
        row, seed = int(own[1]), int(own[2])
    mask = union(masks) if masks else NOTHING
    kind: Kind = "none" if not masks else "global" if mask.all() else "local"
    id = str(image["id"]) if prompt is None and row is None else None
    return Truth(id, prompt, kind, ALL if kind == "global" else mask, seed=seed, row=row)
