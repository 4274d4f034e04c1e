"""A plan for every graph of a bundle: the one in the cache, or else a new one, built by one process at a time."""

import time
from typing import NamedTuple

from memscan.scanner import graph_names
from memscan.scanner.bundle import Bundle
from memscan.scanner.notes import Note
from memscan.scanner.runtimes.tensorrt.builder import Request, build_plan
from memscan.scanner.runtimes.tensorrt.cache import Plan, PlanCache
from memscan.scanner.runtimes.tensorrt.flavour import Flavour
from memscan.scanner.runtimes.tensorrt.key import PlanKey, graph_digest
from memscan.scanner.runtimes.tensorrt.progress import show_build
from memscan.scanner.runtimes.tensorrt.target import Target
from memscan.scanner.runtimes.tensorrt.timing import TimingCache


class Provided(NamedTuple):
    """A plan, and the seconds that it took to build; None for one that was there."""

    plan: Plan
    seconds: float | None


class PlanProvider:
    """Finds or builds the plans of one bundle.

    Args:
        target: what they are for.
        batch_size: the largest batch that they must take.
        note: is given the lines that the user should read.
    """

    def __init__(
        self, bundle: Bundle, flavour: Flavour, cache: PlanCache, target: Target, batch_size: int, *, note: Note
    ) -> None:
        self._bundle = bundle
        self._flavour = flavour
        self._cache = cache
        self._target = target
        self._batch_size = batch_size
        self._note = note

    def provide(self, graph: str) -> Provided:
        """The plan of a graph, by the graph's name in the bundle.

        Raises:
            BundleError, UsageError, OutOfMemory, EnvironmentFailed: as `build_plan`.
            OSError: the cache cannot be written.
        """
        wish = self._wish(graph)
        found = self._cache.find(wish)
        if found is not None:
            return Provided(found, None)
        waiting = f"another memscan is building {graph}: waiting for it"
        with self._cache.locked(wish.digest(), lambda: self._note(waiting)):
            found = self._cache.find(wish)  # the other one may have built it
            return Provided(found, None) if found else self._build(graph, wish)

    def _build(self, graph: str, wish: PlanKey) -> Provided:
        self._note(
            f"building {graph} with {self._flavour.title} for {self._target}, batches up to {wish.batch_size}: "
            "this is done once, and may take minutes"
        )
        request = Request(
            graph,
            self._bundle.file(graph),
            # Prompts are encoded one by one; all else comes in batches.
            optimum=1 if graph.endswith(graph_names.TEXT_ENCODER) else wish.batch_size,
            batch_size=wish.batch_size,
            compute_capabilities=wish.compute_capabilities,
        )
        timing = None if self._flavour.ahead_of_time else TimingCache(self._cache, wish)
        began = time.monotonic()
        with show_build(graph, self._note) as show:
            interface, content = build_plan(self._flavour, request, show=show, timing=timing)
        return Provided(self._cache.store(wish, interface, content), time.monotonic() - began)

    def _wish(self, graph: str) -> PlanKey:
        return PlanKey(
            engine=self._flavour.engine,
            version=self._flavour.version,
            gpu=self._target.gpu,
            compute_capabilities=self._target.compute_capabilities,
            batch_size=self._batch_size,
            graph=graph_digest(self._bundle, graph),
        )
