"""A run whose shares Ray schedules over workers of a cluster: one for each GPU, or for each CPU where there is none.

Results and resume are those of any run by shares: a worker that dies leaves the parts that it has committed, and its
share is done again by a new one. Ray holds no state that would be missed.
"""

import collections
import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from memscan.scanner.errors import EnvironmentFailed, MemscanError, TooManyErrors, UsageError, first_line
from memscan.scanner.model.graphs import Graphs, open_graphs
from memscan.scanner.notes import Note
from memscan.scanner.place import Place
from memscan.scanner.results.pulse import read_pulses
from memscan.scanner.results.store_at import store_at
from memscan.scanner.results.tally import Tally
from memscan.scanner.run.cut import Bounds, survey
from memscan.scanner.run.job import Job
from memscan.scanner.run.progress import Advance, show_progress
from memscan.scanner.run.runner import Progress, Summary, run
from memscan.scanner.run.share import Share
from memscan.scanner.terminal import brief

_SHARES_A_WORKER = 4
"""Fast workers take more shares than slow ones, and in the end few wait for the last."""

_DEATHS = 3
"""Of workers on one share, after which it is given up."""

_LOOK = 5.0  # seconds

MakeJob = Callable[[], Job]
"""Makes the job on a worker, from values alone: paths in it mean the same on all machines."""


class Worker:
    """What runs in a process of its own on some machine: does one share after another by a model that stays loaded."""

    def __init__(self, make: MakeJob, threads: int) -> None:
        job = make()
        execution = dataclasses.replace(job.execution, threads=job.execution.threads or threads)
        self._job = dataclasses.replace(job, execution=execution)
        self._graphs: Graphs | None = None

    def do(self, share: Share) -> Summary:
        """Do what is left of a share; raises as `run`."""
        return run(
            dataclasses.replace(self._job, share=share), note=_ignore, progress=_no_progress, opener=self._opened
        )

    def _opened(self, *arguments: Any) -> Graphs:
        if self._graphs is None:
            self._graphs = open_graphs(*arguments)
        return self._graphs


def run_on_ray(
    make: MakeJob,
    address: str,
    *,
    workers: int | None = None,
    note: Note,
    progress: Progress = show_progress,
) -> Summary:
    """Do a job's run by workers of a Ray cluster.

    Args:
        make: is called on every worker, and here.
        address: of the cluster, as `ray.init` takes it: HOST:PORT, ray://HOST:PORT, auto, or local for this machine.
        workers: how many; None is one for each GPU, or for each CPU where the cluster has no GPU.
        note: is given lines that the user should read.

    Raises:
        EnvironmentFailed: no Ray, no cluster, or workers died on one share again and again.
        UsageError, TooManyErrors: as `run`; each share counts its own errors.
    """
    job = make()
    wanted = survey(job.manifest, Bounds(job.record.part_rows, job.record.part_images))
    count = len(wanted.parts)
    ray = _import()
    with _connected(ray, address):
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0)) if job.execution.provider != "cpu" else 0
        threads = job.execution.threads or 1
        room = gpus or int(resources.get("CPU", 1)) // threads
        number = max(min(workers or room, room, count), 1)
        note(f"{number} workers on {len(ray.nodes())} machines, each with {'a GPU' if gpus else f'{threads} CPUs'}")
        remote = ray.remote(Worker).options(num_cpus=threads, num_gpus=int(bool(gpus)))
        start = functools.partial(remote.remote, make, threads)
        of = min(count, number * _SHARES_A_WORKER)
        schedule = _Schedule(ray, start, job.out, [Share(index, of) for index in range(of)], note)
        return schedule.done(number, wanted.census.images, progress)


class _Schedule:
    """Shares that wait, and those that workers have."""

    def __init__(self, ray: Any, start: Callable[[], Any], out: Place, shares: Sequence[Share], note: Note) -> None:
        self._ray, self._start, self._out, self._note = ray, start, out, note
        self._waiting = collections.deque(shares)
        self._deaths: collections.Counter[Share] = collections.Counter()
        self._busy: dict[Any, tuple[Any, Share]] = {}
        self._done: list[Summary] = []

    def done(self, workers: int, images: int, progress: Progress) -> Summary:
        """Go on until all shares, with so many images, are done."""
        said = Tally()
        try:
            with progress(images, 0) as advance:
                for _ in range(workers):
                    self._hand_out(self._start())
                while self._busy:
                    ready, _ = self._ray.wait(list(self._busy), timeout=_LOOK)
                    for one in ready:
                        self._collect(one)
                    said = self._say(advance, said)
        finally:
            for worker, _ in self._busy.values():
                self._ray.kill(worker)
        total = sum((summary.total for summary in self._done), Tally())
        return Summary(total, sum(one.found for one in self._done), complete=any(one.complete for one in self._done))

    def _hand_out(self, worker: Any) -> None:
        if self._waiting:
            share = self._waiting.popleft()
            self._busy[worker.do.remote(share)] = worker, share

    def _collect(self, one: Any) -> None:
        worker, share = self._busy.pop(one)
        try:
            self._done.append(self._ray.get(one))
        except (self._ray.exceptions.RayActorError, self._ray.exceptions.RayTaskError) as error:
            self._mourn(share, error)
            self._ray.kill(worker)
            worker = self._start()
        self._hand_out(worker)

    def _mourn(self, share: Share, error: Exception) -> None:
        cause = getattr(error, "cause", None)
        if isinstance(cause, UsageError | TooManyErrors):
            raise cause from None
        if cause is not None and not isinstance(cause, MemscanError | OSError):
            raise error
        self._deaths[share] += 1
        why = brief(first_line(cause or error), 300)
        if self._deaths[share] == _DEATHS:
            raise EnvironmentFailed(f"share {share.name} failed {_DEATHS} times, at last by: {why}")
        self._note(f"share {share.name} is done again by a new worker: {why}")
        self._waiting.append(share)

    def _say(self, advance: Advance, said: Tally) -> Tally:
        """Tell of images finished since `said`: those of shares that are done, and what workers say of the others."""
        now = sum((Tally(one.total.images - one.total.error, one.total.error) for one in self._done), Tally())
        busy = {share.name for _, share in self._busy.values()}
        with contextlib.suppress(OSError):
            for pulse in read_pulses(store_at(self._out)):
                if pulse.share in busy and pulse.state == "working":
                    now += Tally(int(pulse.finished) - pulse.failed, pulse.failed)
        if now.images <= said.images:
            return said
        advance(now.images - said.images, max(now.error - said.error, 0))
        return now


@contextlib.contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address=address, log_to_driver=False, **({"include_dashboard": False} if address == "local" else {}))
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise EnvironmentFailed(f"no Ray cluster at {brief(address)}: {first_line(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _import() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise EnvironmentFailed(f"--ray needs Ray ({first_line(error)}): pip install 'memscan[ray]'") from error
    return ray


def _ignore(text: str) -> None:
    """What a worker says is said by the driver as well."""


@contextlib.contextmanager
def _no_progress(total: int, done: int) -> Iterator[Advance]:
    yield lambda count, errors: None
