"""How far a run is: a bar on a terminal or in a notebook, now and then a line in a log; nothing if nobody listens."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from memscan.scanner.notes import LOGGER, Note, bars_are_welcome, note
from memscan.scanner.terminal import is_terminal

Advance = Callable[[float, int], None]
"""Is given the numbers of images just finished, and of those among them, or before, that failed.

While a batch is scanned, these are fractions: of its images, that share which its steps are of all of its steps.
"""

_LONGEST_SILENCE = 30.0  # seconds
_SHORTEST_SILENCE = 2.0
_FIRST_SILENCE = 5.0
_BETWEEN_DRAWINGS = 0.5
_SHARE_BETWEEN_LINES = 0.1


@contextlib.contextmanager
def show_progress(total: int, done: int) -> Iterator[Advance]:
    """Show progress while the block runs; see `Advance`.

    Args:
        total: images of the whole run.
        done: of these, those that an earlier process has finished.
    """
    if bars_are_welcome() and (is_terminal(sys.stderr) or "ipykernel" in sys.modules):
        with draw_bar(total, done) as advance:
            yield advance
    else:
        yield LogLines(total, done, note).advance


@contextlib.contextmanager
def draw_bar(total: int, done: int) -> Iterator[Advance]:
    """As `show_progress`, always with a bar, above which notes are written."""
    from tqdm.auto import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    bar = tqdm(
        total=total,
        initial=done,
        desc="scanning",
        unit=" images",
        smoothing=0,
        dynamic_ncols=True,
        file=sys.stderr,
    )
    failed, exact, drawn = 0, float(done), time.monotonic()

    def advance(count: float, errors: int) -> None:
        nonlocal failed, exact, drawn
        failed += errors
        exact += count
        if errors:
            bar.set_postfix_str(f"{failed} with errors", refresh=False)
        bar.update(whole(exact) - bar.n)
        if count and time.monotonic() - drawn >= _BETWEEN_DRAWINGS:
            drawn = time.monotonic()
            bar.refresh()

    with bar, logging_redirect_tqdm([LOGGER]):
        yield advance


def whole(images: float) -> int:
    """How many images are finished, where fractions were added up."""
    return int(round(images, 6))


class LogLines:
    """Writes a line after every tenth of the work, and after half a minute without one; at most one in two seconds.

    The first one comes after five, so that whoever waits sees that it works.
    """

    def __init__(self, total: int, done: int, write: Note, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._earlier, self._done = total, done, float(done)
        self._write, self._clock = write, clock
        self._began = self._last_time = clock()
        self._last_done = self._done
        self._longest = _FIRST_SILENCE
        self._failed = 0

    def advance(self, count: float, errors: int) -> None:
        """Count images as done, and those that failed, and write a line if it is time for one."""
        self._failed += errors
        if not count:
            return
        self._done += count
        now = self._clock()
        silence = now - self._last_time
        share = (self._done - self._last_done) / self._total
        if silence < (_SHORTEST_SILENCE if share >= _SHARE_BETWEEN_LINES else self._longest):
            return
        if silence < self._longest or self._longest == _LONGEST_SILENCE:  # the early line is no tenth
            self._last_done = self._done
        self._last_time, self._longest = now, _LONGEST_SILENCE
        here, seconds = self._done - self._earlier, now - self._began
        left = seconds / here * (self._total - self._done)
        self._write(
            f"{whole(self._done)} of {self._total} images ({self._done / self._total:.0%}){_failed(self._failed)}, "
            f"{_rate(here, seconds)}, {duration(left)} left"
        )


def _failed(count: int) -> str:
    return f", {count} with errors" if count else ""


def _rate(count: float, seconds: float) -> str:
    per_second = count / max(seconds, 1e-9)
    return f"{per_second:.3g}/s" if per_second >= 1 else f"{60 * per_second:.3g}/min"


def duration(seconds: float) -> str:
    """A length of time for people, rounded."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
