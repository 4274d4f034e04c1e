"""How the rows of a manifest are cut into parts.

A part has so many rows and so many images at most. Rows stay whole where they can; a row with more images than a part
may have is spread over several parts, which begin with it. Where a part ends depends on the rows before its end alone:
rows that are added later change no part but the last.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from memscan.scanner.errors import ManifestError
from memscan.scanner.input.manifest import Census, Manifest
from memscan.scanner.input.rows import Row, judge, parse_row
from memscan.scanner.results.extent import Extent
from memscan.scanner.run.share import WHOLE, Share

_REASONS = 3


class Bounds(NamedTuple):
    """How many rows and images a part has at most."""

    rows: int
    images: int


def cut(counts: Iterable[int], bounds: Bounds) -> Iterator[Extent]:
    """The parts of a manifest whose rows have these numbers of images, each at least one; one empty part of no rows."""
    first = seed = rows = images = row = 0
    for row, count in enumerate(counts):
        if rows and (rows == bounds.rows or images + count > bounds.images):
            yield Extent(first, seed, row, 0, images)
            first, seed, rows, images = row, 0, 0, 0
        rows, images = rows + 1, images + count
        while images > bounds.images:  # this row alone
            yield Extent(row, seed, row, seed + bounds.images, bounds.images)
            seed, images = seed + bounds.images, images - bounds.images
    if rows or not row:
        yield Extent(first, seed, row + 1 if rows else 0, 0, images)


@dataclasses.dataclass(frozen=True)
class Survey:
    """How much there is to do, and in which parts."""

    census: Census
    parts: tuple[Extent, ...]


def survey(manifest: Manifest, bounds: Bounds, share: Share = WHOLE) -> Survey:
    """Read everything but images once, so that a file which breaks in the middle is found before work begins.

    Of a manifest without seeds, it is known how it is cut: one of several shares reads its own rows alone, so that a
    hundred workers do not read everything a hundred times; `rejected` counts those of its rows then.

    Raises:
        ManifestError: a row group cannot be read.
    """
    if share.of > 1 and manifest.one_image_a_row:
        return _survey_of_share(manifest, bounds, share)
    rows = rejected = 0
    reasons: list[str] = []

    def counts() -> Iterator[int]:
        nonlocal rows, rejected
        for raw in manifest.rows(images=False):
            asked = judge(raw)
            if asked.error is not None:
                rejected += len(asked.seeds)
                if len(reasons) < _REASONS:
                    reasons.append(f"row {manifest.index(rows)}: {asked.error}")
            rows += 1
            yield len(asked.seeds)

    parts = tuple(cut(counts(), bounds))
    return Survey(Census(rows, sum(part.images for part in parts), rejected, tuple(reasons)), parts)


def _survey_of_share(manifest: Manifest, bounds: Bounds, share: Share) -> Survey:
    total, step = manifest.num_rows, min(bounds)
    stops = [min(first + step, total) for first in range(0, total, step)] or [0]
    parts = tuple(Extent(number * step, 0, stop, 0, stop - number * step) for number, stop in enumerate(stops))
    own = share.parts(len(parts))
    rejected = 0
    if own:
        start, stop = parts[own[0]].first_row, parts[own[-1]].stop_row
        asked = map(judge, manifest.rows(start, stop, images=False))
        rejected = sum(len(one.seeds) for one in asked if one.error is not None)
    return Survey(Census(total, total, rejected), parts)


class PartRow(NamedTuple):
    """A row of a part, with those of its seeds that belong to the part."""

    part: int
    row: Row


def rows_of(manifest: Manifest, parts: Sequence[tuple[int, Extent]], *, counted: bool = True) -> Iterator[PartRow]:
    """The rows of parts, given in order by number and extent; parts that are neighbours are read in one go.

    Args:
        counted: a part must have as many images as its extent says.

    Raises:
        ManifestError: a row group cannot be read, or a part has other rows or images than when they were counted.
    """
    filled = [part for part in parts if part[1].images]
    apart = itertools.accumulate(
        (before.stop_row, before.stop_seed) != (extent.first_row, extent.first_seed)
        for (_, before), (_, extent) in itertools.pairwise(filled)
    )
    for _, neighbours in itertools.groupby(
        zip(itertools.chain([0], apart), filled, strict=False), lambda item: item[0]
    ):
        yield from _rows_of_neighbours(manifest, [part for _, part in neighbours], counted)


def _rows_of_neighbours(manifest: Manifest, parts: Sequence[tuple[int, Extent]], counted: bool) -> Iterator[PartRow]:
    start, stop = parts[0][1].first_row, parts[-1][1].last_row + 1
    rows = (parse_row(manifest.index(place), raw) for place, raw in enumerate(manifest.rows(start, stop), start))
    row = next(rows, None)
    for number, extent in parts:
        images = 0
        for index in range(extent.first_row, extent.last_row + 1):
            if row is None:
                raise _changed(extent, "fewer rows")
            items = row.items[extent.seeds(index)]
            images += len(items)
            if items:
                yield PartRow(number, row if len(items) == len(row.items) else row._replace(items=items))
            if index != extent.stop_row:  # or the next part goes on with this row
                row = next(rows, None)
        if counted and images != extent.images:
            raise _changed(extent, f"{images} images in place of {extent.images}")


def _changed(extent: Extent, how: str) -> ManifestError:
    return ManifestError(
        f"the manifest was changed while it was scanned: rows {extent.first_row} to {extent.last_row} have {how}: "
        "restore it, then run the same command again"
    )


class PartInput(NamedTuple):
    """What a part is made of: the digest of its rows, and those of the pictures that they bring, by row."""

    digest: str
    pictures: dict[int, str]


def part_inputs(manifest: Manifest, parts: Sequence[tuple[int, Extent]]) -> Iterator[PartInput]:
    """What each of the parts is made of now, however many images that are.

    Raises:
        ManifestError: a row group cannot be read, or there are fewer rows than when they were counted.
    """
    groups = itertools.groupby(rows_of(manifest, parts, counted=False), lambda item: item.part)
    for _, extent in parts:
        digests: list[bytes] = []
        pictures: dict[int, str] = {}
        for _, row in next(groups)[1] if extent.images else ():
            digests.append(row.digest)
            if row.picture is not None:
                pictures[row.items[0].row] = row.picture
        yield PartInput(input_digest(digests), pictures)


def input_digest(row_digests: Iterable[bytes]) -> str:
    """SHA-256 (hex) of the rows of a part, from theirs."""
    return hashlib.sha256(b"".join(row_digests)).hexdigest()
