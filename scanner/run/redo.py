"""What is done again of a part that has results; everything else of it stays as it is, bit by bit.

New results take the place of those with status error, if they are to be retried, and are added for rows that the
manifest has gained. Good ones stay; their images are scanned once more where maps or images are lost.
"""

import dataclasses
from collections.abc import Sequence

from memscan.scanner.results import layout
from memscan.scanner.results.finished import Found
from memscan.scanner.results.row_keys import Fates
from memscan.scanner.samples import Key, RowKey


@dataclasses.dataclass(frozen=True)
class Redo:
    """How a part that was `found`, whose results have these `fates`, is done again."""

    found: Found
    fates: Fates
    retry_errors: bool

    @property
    def renews(self) -> bool:
        """Whether the part gets other results than it has."""
        return self.found.has_grown or (self.retry_errors and bool(self.fates.failed))

    def replaces(self, key: RowKey) -> bool:
        """Whether a row gets new results."""
        return key not in self.fates.good and (self.retry_errors or key not in self.fates.failed)

    def keeps(self, key: RowKey) -> bool:
        """Whether a row stays as it is."""
        return not self.replaces(key)

    def maps(self, key: RowKey) -> bool:
        """Whether the maps of a row are written."""
        return self.replaces(key) or (self.found.lost_maps and key in self.fates.good)

    def saves(self, key: Key, steps: Sequence[int]) -> bool:
        """Whether an image is saved: it is lost, or nothing of it was good at any of the `steps`."""
        return layout.image_name(*key) in self.found.lost_images or all(self.replaces((*key, step)) for step in steps)

    def left_out(self) -> frozenset[Key]:
        """The images of the part that are not scanned."""
        images = _images(self.fates.good | self.fates.failed)
        lost = set(self.found.lost_images)
        scanned = {key for key in images if layout.image_name(*key) in lost}
        scanned |= _images(self.fates.failed) if self.retry_errors else set()
        scanned |= _images(self.fates.good) if self.found.lost_maps else set()
        return frozenset(images - scanned)


def _images(rows: frozenset[RowKey]) -> set[Key]:
    return {(row, seed) for row, seed, _ in rows}
