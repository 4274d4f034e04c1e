"""How far a run is: a bar on a terminal, now and then a plain line in a log; both on stderr."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance = Callable[[int, int], None]
"""Is given the numbers of images just finished, and of those among them, or before, that failed."""

_LONGEST_SILENCE = 30.0  # seconds
_SHORTEST_SILENCE = 2.0
_SHARE_BETWEEN_LINES = 0.1


@contextlib.contextmanager
def show_progress(total: int, done: int) -> Iterator[Advance]:
    """Show progress while the block runs; see `Advance`.

    Args:
        total: images of the whole run.
        done: of these, those that an earlier process has finished.
    """
    if sys.stderr.isatty():
        with _bar(total, done) as advance:
            yield advance
    else:
        yield LogLines(total, done, sys.stderr).advance


@contextlib.contextmanager
def _bar(total: int, done: int) -> Iterator[Advance]:
    began = time.monotonic()
    columns = (
        TextColumn("scanning"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images, {task.fields[rate]}{task.fields[failed]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("scan", total=total, completed=done, rate="starting", failed="")
        finished = failed = 0

        def advance(count: int, errors: int) -> None:
            nonlocal finished, failed
            finished, failed = finished + count, failed + errors
            bar.update(task, advance=count, rate=_rate(finished, time.monotonic() - began), failed=_failed(failed))

        yield advance


class LogLines:
    """Writes a line after every tenth of the work, and after half a minute without one; at most one in two seconds."""

    def __init__(self, total: int, done: int, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._earlier, self._done = total, done, done
        self._stream, self._clock = stream, clock
        self._began = self._last_time = clock()
        self._last_done = done
        self._failed = 0

    def advance(self, count: int, errors: int) -> None:
        """Count images as done, and those that failed, and write a line if it is time for one."""
        self._failed += errors
        if not count:
            return
        self._done += count
        now = self._clock()
        silence = now - self._last_time
        share = (self._done - self._last_done) / self._total
        if silence < (_SHORTEST_SILENCE if share >= _SHARE_BETWEEN_LINES else _LONGEST_SILENCE):
            return
        self._last_time, self._last_done = now, self._done
        here, seconds = self._done - self._earlier, now - self._began
        left = seconds / here * (self._total - self._done)
        print(
            f"memscan: {self._done} of {self._total} images ({self._done / self._total:.0%}){_failed(self._failed)}, "
            f"{_rate(here, seconds)}, {_duration(left)} left",
            file=self._stream,
            flush=True,
        )


def _failed(count: int) -> str:
    return f", {count} with errors" if count else ""


def _rate(count: int, seconds: float) -> str:
    per_second = count / max(seconds, 1e-9)
    return f"{per_second:.3g}/s" if per_second >= 1 else f"{60 * per_second:.3g}/min"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
