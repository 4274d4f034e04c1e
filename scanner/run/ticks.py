"""Progress within a batch: a batch of a large model takes an hour, and each call of its denoiser seconds."""

from memscan.scanner.run.progress import Advance
from memscan.scanner.scanning.batch_ceiling import BatchCeiling


class Ticks:
    """Counts the calls of the denoiser, and advances by the share of a batch's images that they are.

    Args:
        calls: of a batch that is scanned at once; one that does not fit into memory is scanned in pieces.
    """

    def __init__(self, advance: Advance, calls: int, ceiling: BatchCeiling) -> None:
        self._advance, self._calls, self._ceiling = advance, calls, ceiling
        self._images, self._called, self._given = 0, 0, 0.0

    def begin(self, images: int) -> None:
        """A batch of so many images is scanned now."""
        self._images, self._called, self._given = images, 0, 0.0

    def tick(self) -> None:
        """The denoiser was called."""
        self._called += 1
        pieces = -(-self._images // self._ceiling.size)
        reached = self._images * min(1.0, self._called / (self._calls * pieces))
        if reached > self._given:
            self._advance(reached - self._given, 0)
            self._given = reached

    def end(self, images: int, errors: int) -> None:
        """The batch is done: so many images, with those that needed no scan, and as many failed."""
        self._advance(images - self._given, errors)
        self._given = float(images)
