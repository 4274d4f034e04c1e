"""How far a run is, from its output folder alone: its results say what is done, its workers how fast they are.

Reads only. Whether a worker still lives is not concluded from the time it last said so, since clocks differ between
machines: who wants to know looks twice, see `silent`.
"""

import dataclasses
import functools
from collections.abc import Sequence

from memscan.scanner.errors import UsageError
from memscan.scanner.results import layout
from memscan.scanner.results.at_once import in_order
from memscan.scanner.results.folder import OutputFolder
from memscan.scanner.results.part_file import PartRecord
from memscan.scanner.results.pulse import Pulse, read_pulses
from memscan.scanner.results.tally import Tally
from memscan.scanner.results.torn import Torn


@dataclasses.dataclass(frozen=True)
class Status:
    """How far a run is.

    Of its `parts` and `images` (None where no worker has said how many there are), `done` parts are there, whole as far
    as their footers say, with the images of `tally`; `torn` are not. `pulses` is what each share's worker said last.
    """

    parts: int | None
    images: int | None
    done: int
    torn: int
    tally: Tally
    complete: bool
    pulses: tuple[Pulse, ...]

    @property
    def working(self) -> tuple[Pulse, ...]:
        """The pulses of shares that have not said that they ended; a worker that was killed is among them."""
        return tuple(pulse for pulse in self.pulses if pulse.state == "working")

    @property
    def rate(self) -> float:
        """Images a second of all shares that say they are working."""
        return sum(pulse.rate for pulse in self.working)

    @property
    def seconds_left(self) -> float | None:
        """How long what is left takes at this rate; None where nobody works, or has got far enough to say.

        What workers have finished of parts that are not there yet counts as done.
        """
        if self.complete or self.images is None or not self.rate:
            return None
        return max(self.images - max(self.tally.images, sum(one.finished for one in self.working)), 0) / self.rate


def read_status(folder: OutputFolder) -> Status:
    """Read how far the run in a folder is; the footers of its parts are read.

    Raises:
        UsageError: there is no run.
        ResumeRefused: there are Parquet files among the results that no run has written.
        OSError: a file cannot be read.
    """
    pulses = tuple(read_pulses(folder.store))
    numbers = sorted(folder.parts())
    if not pulses and not numbers and not _has_record(folder):
        raise UsageError(f"no run in {folder.path}: give the folder that `memscan run` writes (its --out)")
    records = list(in_order(folder.store, functools.partial(_record, folder), numbers))
    whole = [record for record in records if record is not None]
    complete = folder.complete
    return Status(
        parts=len(whole) if complete else max((pulse.parts for pulse in pulses), default=None),
        images=None if not (complete or pulses) else max([*(one.images for one in pulses), _images(whole)]),
        done=len(whole),
        torn=len(records) - len(whole),
        tally=sum((record.tally for record in whole), Tally()),
        complete=complete,
        pulses=pulses,
    )


def silent(first: Status, second: Status) -> tuple[str, ...]:
    """The shares that say they are working, and said nothing between two looks."""
    before = {pulse.share: pulse for pulse in first.working}
    return tuple(pulse.share for pulse in second.working if before.get(pulse.share) == pulse)


def _images(records: Sequence[PartRecord]) -> int:
    return sum(record.extent.images for record in records)


def _has_record(folder: OutputFolder) -> bool:
    try:
        folder.store.open(layout.RECORD).close()
    except FileNotFoundError:
        return False
    return True


def _record(folder: OutputFolder, number: int) -> PartRecord | None:
    try:
        return folder.record_of(number)
    except (Torn, KeyError, ValueError, FileNotFoundError):
        return None
