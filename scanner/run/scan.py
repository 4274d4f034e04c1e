"""The batches of a run: each is scanned, or screened first, and what passes is scanned in full batches."""

from memscan.scanner.bundle import Bundle
from memscan.scanner.model.graphs import Graphs
from memscan.scanner.run.batches import Batch
from memscan.scanner.run.part import ScannedBatch
from memscan.scanner.samples import Scanned
from memscan.scanner.scanning.batch_ceiling import BatchCeiling
from memscan.scanner.scanning.prepare import Prepared
from memscan.scanner.scanning.scanner import Scanner
from memscan.scanner.scanning.screening import Screening
from memscan.scanner.settings import Measurement


class Scan:
    """Scans batch after batch.

    An image that passes the screening is scanned anew from its noise, as without it: the few steps that this repeats
    are those of few images, and its result is that of a run without screening, bit by bit.

    Raises:
        UsageError, BundleError: as `Scanner`.
    """

    def __init__(self, bundle: Bundle, graphs: Graphs, measurement: Measurement, ceiling: BatchCeiling) -> None:
        self._ceiling = ceiling
        self._scanner = Scanner(bundle, graphs, measurement, ceiling)
        self._screening = None
        if measurement.screen is not None:
            self._screening = Screening(bundle, graphs, measurement, measurement.screen, ceiling)
        self._waiting: list[Prepared] = []
        self.prepare = self._scanner.prepare

    @property
    def calls(self) -> int:
        """How often the denoiser is called for every batch, at most."""
        return (self._screening or self._scanner).calls

    def __call__(self, batch: Batch) -> ScannedBatch:
        """Scan a batch; with screening, images that passed wait until there are enough, or their part ends.

        Raises:
            EnvironmentFailed: as `Scanner.scan`.
        """
        if self._screening is None:
            return ScannedBatch(batch, tuple(self._scanner.scan(batch.prepared)))
        passed, screened = self._screening(batch.prepared)
        self._waiting += passed
        scanned: list[Scanned] = []
        while len(self._waiting) >= self._ceiling.size or (batch.last and self._waiting):
            size = self._ceiling.size
            together, self._waiting = self._waiting[:size], self._waiting[size:]
            scanned += self._scanner.scan(together)
        return ScannedBatch(batch, tuple(scanned), screened)
