"""How many images are scanned at once: fewer for the rest of a run, once the device has run out of memory."""

from collections.abc import Callable

from memscan.scanner.errors import OutOfMemory


class BatchCeiling:
    """The largest batch of a run; `size` may be read by any thread.

    Args:
        size: images at once, to begin with.
        note: is given a line whenever the size shrinks.
    """

    def __init__(self, size: int, note: Callable[[str], None]) -> None:
        self.size = size
        self._note = note

    def shrink(self, tried: int, error: OutOfMemory) -> None:
        """Halve the size after a batch of `tried` images did not fit.

        Raises:
            OutOfMemory: the batch was a single image.
        """
        if tried == 1:
            raise OutOfMemory(f"not even one image at a time fits: {error}") from error
        self.size = tried // 2
        self._note(f"{tried} images at once do not fit into memory: going on with {self.size}")
