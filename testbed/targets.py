"""Third part of the proof: what was asked of the testbed, and what the held-out captions give."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from memscan.scanner.evaluation.figures import Protocol, Record
from testbed.captions import of_kind, split_of
from testbed.dataset import masks


class Target(NamedTuple):
    """One figure that was asked for; `at_least` says on which side of `limit` the value must lie."""

    name: str
    value: float
    interval: tuple[float, float] | None
    limit: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def targets(records: Sequence[Record]) -> list[Target]:
    """The targets, from the records of `evaluate` on the held-out split at one step.

    Raises:
        KeyError: the bundle or the scan lacks a baseline, maps or calibrated thresholds, so that a record is missing.
    """
    by_key = {(record.map, record.kind, record.protocol): record for record in records}
    limits: dict[Protocol, float] = {"oracle": 0.90, "fixed": 0.85}
    found = []
    for name in ("dh_uncond", "dh_base"):
        for protocol, limit in limits.items():
            record = by_key[name, "local", protocol]
            found.append(Target(f"{name} local IoU, {protocol}", *_iou(record), limit))
    for protocol in limits:
        ours, alone = by_key["dh_uncond", "all", protocol], by_key["h_cond", "all", protocol]
        gain = _iou(ours)[0] - _iou(alone)[0]
        found.append(Target(f"dh_uncond over h_cond, all kinds, {protocol}", gain, None, 0.05))
    for name in ("dh_uncond", "dh_base"):
        record = by_key[name, "all", "oracle"]
        if record.auc is None:
            raise ValueError(f"no AUC of {name}: the results lack memorized or unmemorized images")
        found.append(Target(f"{name} detection AUC", record.auc, _interval(record.auc_low, record.auc_high), 0.98))
    return [*found, Target("a mask of ones, local IoU", ones_iou(), None, 0.60, at_least=False)]


def ones_iou() -> float:
    """Global IoU of an all-ones mask on the held-out local captions."""
    held_out = [caption for caption in of_kind("local") if split_of(caption) == "heldout"]
    return float(np.mean([masks(caption).memorized for caption in held_out]))


def target_lines(found: Sequence[Target]) -> Iterator[str]:
    """The table as text."""
    for target in found:
        interval = "" if target.interval is None else f"[{target.interval[0]:.3f}, {target.interval[1]:.3f}]"
        sign = ">=" if target.at_least else "<="
        verdict = "met" if target.met else "MISSED"
        yield f"{target.name:<42} {target.value:.3f} {interval:<16} {sign} {target.limit:.2f}  {verdict}"


def _iou(record: Record) -> tuple[float, tuple[float, float] | None]:
    if record.iou is None:
        raise ValueError(f"no IoU of {record.map} by the {record.protocol} protocol: scan with maps")
    return record.iou, _interval(record.iou_low, record.iou_high)


def _interval(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)
