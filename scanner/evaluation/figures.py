"""What an evaluation says: records of localization and detection, and of differences between two results."""

import dataclasses
import json
from typing import Any, Literal

from memscan.scanner.evaluation.roc import Rate, Roc

Protocol = Literal["oracle", "fixed"]


@dataclasses.dataclass(frozen=True)
class Record:
    """The figures of one metric (`map`) at one step on the images of one kind, or on all of them.

    `iou`, `miou` and `accuracy` are None for a score that is no map, where a region is not known, and where a protocol
    lacks what it needs: only detection is scored then. Each is that of its own best threshold: `*_threshold` is the one
    of the protocol, 0 to 1 after the normalization over the images of the record (None for the fixed protocol), and
    `*_value` the same as a value of the map, as `memscan run --threshold` takes it.

    `auc` tells the memorized images of the kind (of "all": every kind) from those of kind none by the mean of the map,
    the same in both protocols, or by the score, its sign turned where low values mean memorized; None where one side is
    missing. `*_low` and `*_high` bound 95% intervals, bootstrapped over captions.
    """

    map: str
    step: int
    timestep: int
    kind: str
    protocol: Protocol
    images: int
    captions: int
    iou: float | None = None
    iou_low: float | None = None
    iou_high: float | None = None
    miou: float | None = None
    accuracy: float | None = None
    auc: float | None = None
    auc_low: float | None = None
    auc_high: float | None = None
    iou_threshold: float | None = None
    iou_value: float | None = None
    miou_threshold: float | None = None
    miou_value: float | None = None
    accuracy_threshold: float | None = None
    accuracy_value: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class DetectionRecord:
    """How one score tells the `positives` of one kind, or of all, from the `negatives`, the images of kind none.

    Counts are of images, `*_captions` of captions. Every score has the sign by which high values mean memorized.
    """

    score: str
    step: int
    timestep: int
    kind: str
    positives: int
    negatives: int
    positive_captions: int
    negative_captions: int
    auc: float
    auc_low: float | None
    auc_high: float | None
    rates: tuple[Rate, ...]
    roc: Roc


@dataclasses.dataclass(frozen=True)
class Difference:
    """One figure of two results on the images that both have: `second` minus `first` is `difference`.

    `low` and `high` bound its 95% interval, both results drawn alike; None where too few captions are left to resample.
    """

    figure: str
    kind: str
    protocol: Protocol | None
    timesteps: tuple[int, int]
    images: int
    captions: int
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """All records, and `notes`: one line for each thing that was left out, and why."""

    records: tuple[Record, ...]
    notes: tuple[str, ...]
    detections: tuple[DetectionRecord, ...] = ()

    def to_json(self) -> str:
        """An object of `localization`, `detection` and `notes`; the keys of the records are the fields of `Record`
        and `DetectionRecord`."""
        found = {
            "localization": [dataclasses.asdict(record) for record in self.records],
            "detection": [_detection(record) for record in self.detections],
            "notes": list(self.notes),
        }
        return json.dumps(found, indent=1, allow_nan=False) + "\n"


def _detection(record: DetectionRecord) -> dict[str, Any]:
    corners = record.roc.corners()
    roc = {
        "fpr": corners.fpr.tolist(),
        "tpr": corners.tpr.tolist(),
        "thresholds": [None, *corners.thresholds[1:].tolist()],
    }
    rates = [dataclasses.asdict(rate) for rate in record.rates]
    return {
        field.name: {"roc": roc, "rates": rates}.get(field.name, getattr(record, field.name))
        for field in dataclasses.fields(record)
    }
