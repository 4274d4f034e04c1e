"""How far the build of a plan is: a bar on a terminal, now and then a line in a log.

TensorRT reports phases inside phases, each of so many steps; a phase fills the current step of the phase around it.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from memscan.scanner.notes import Note, somebody_listens
from memscan.scanner.terminal import is_terminal

Show = Callable[[float, str], None]
"""Is given the share that is done, in [0, 1], and the phase at work."""

_LONGEST_SILENCE = 30.0  # seconds
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}{postfix}"


class Phases:
    """The phases that are under way, the outermost first."""

    def __init__(self) -> None:
        self._done: dict[str, tuple[int, int]] = {}

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins. Phases inside its parent that were never finished are over."""
        names = list(self._done)
        for ended in names[names.index(parent) + 1 if parent in names else 0 :]:
            del self._done[ended]
        self._done[name] = (0, steps)

    def step(self, name: str, index: int) -> None:
        """The step with this index of a phase is done."""
        if name in self._done:
            self._done[name] = (index + 1, self._done[name][1])

    def finish(self, name: str) -> None:
        """A phase ends."""
        self._done.pop(name, None)

    @property
    def share(self) -> float:
        """The share of the outermost phase that is done."""
        share, width = 0.0, 1.0
        for done, steps in self._done.values():
            share += width * done / steps
            width = width / steps if done < steps else 0.0
        return share

    @property
    def current(self) -> str:
        """Name of the innermost phase."""
        return next(reversed(self._done), "")


def monitor(trt: ModuleType, show: Show) -> Any:
    """What a builder reports to. A Ctrl-C or SIGTERM during the build ends it: `interruption` holds the exception.

    An exception must not pass through TensorRT's own code, so it is kept, and the build is told to stop.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.interruption: BaseException | None = None
            self._phases = Phases()
            self._highest = 0.0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._report(lambda: self._phases.start(phase_name, parent_phase, num_steps))

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._report(lambda: self._phases.step(phase_name, step))
            return self.interruption is None

        def phase_finish(self, phase_name: str) -> None:
            self._report(lambda: self._phases.finish(phase_name))

        def _report(self, change: Callable[[], None]) -> None:
            try:
                change()
                self._highest = max(self._highest, self._phases.share)
                show(self._highest, self._phases.current)
            except BaseException as error:
                self.interruption = self.interruption or error

    return Monitor()


@contextlib.contextmanager
def show_build(graph: str, note: Note) -> Iterator[Show]:
    """Show the progress of a build while the block runs."""
    if not (somebody_listens() and is_terminal(sys.stderr)):
        yield LogLines(graph, note)
        return
    from tqdm import tqdm

    bar = tqdm(
        total=1.0,
        desc=f"building {graph}",
        bar_format=_BAR,
        leave=False,
        miniters=0,
        dynamic_ncols=True,
        file=sys.stderr,
    )
    with bar:

        def show(share: float, phase: str) -> None:
            bar.set_postfix_str(phase, refresh=False)
            bar.update(share - bar.n)

        yield show


class LogLines:
    """Notes a line after every half minute of a build."""

    def __init__(self, graph: str, note: Note, clock: Callable[[], float] = time.monotonic) -> None:
        self._graph, self._note, self._clock = graph, note, clock
        self._last = clock()

    def __call__(self, share: float, phase: str) -> None:
        now = self._clock()
        if now - self._last >= _LONGEST_SILENCE:
            self._last = now
            self._note(f"building {self._graph}: {share:.0%} ({phase})")
