"""Which images a part of a run holds: a range of the manifest's rows, and of the first and last one's seeds."""

from typing import NamedTuple


class Extent(NamedTuple):
    """From the seed number `first_seed` of the row `first_row` to before the seed number `stop_seed` of `stop_row`.

    Seeds are counted within their row, in the order of the manifest. `images` counts (row, seed) pairs.
    """

    first_row: int
    first_seed: int
    stop_row: int
    stop_seed: int
    images: int

    @property
    def last_row(self) -> int:
        """The last row of which the part holds a seed."""
        return self.stop_row if self.stop_seed else self.stop_row - 1

    def begins(self, other: "Extent") -> bool:
        """Whether another part has these rows and more: this one ended where the manifest did, which has grown."""
        grown = (self.stop_row, self.stop_seed) < (other.stop_row, other.stop_seed)
        return self[:2] == other[:2] and not self.stop_seed and grown

    def seeds(self, row: int) -> slice:
        """Which of a row's seeds belong to the part."""
        return slice(self.first_seed if row == self.first_row else 0, self.stop_seed if row == self.stop_row else None)
