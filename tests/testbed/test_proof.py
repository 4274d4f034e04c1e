"""The tables of the proof say what their inputs say: targets met and missed, and their sides."""

import dataclasses

import pytest

from memscan.scanner.evaluation.figures import Record
from testbed.targets import Target, ones_iou, target_lines, targets

RECORDS = [
    Record(name, 44, 101, kind, protocol, 40, 8, iou=iou, iou_low=iou - 0.1, iou_high=iou + 0.1, auc=1.0)
    for name, iou in (("dh_uncond", 0.92), ("dh_base", 0.87), ("h_cond", 0.88))
    for kind in ("local", "all")
    for protocol in ("oracle", "fixed")
]


def met() -> dict[str, bool]:
    return {target.name: target.met for target in targets(RECORDS)}


def test_targets_are_judged_one_by_one() -> None:
    assert met() == {
        "dh_uncond local IoU, oracle": True,
        "dh_uncond local IoU, fixed": True,
        "dh_base local IoU, oracle": False,
        "dh_base local IoU, fixed": True,
        "dh_uncond over h_cond, all kinds, oracle": False,
        "dh_uncond over h_cond, all kinds, fixed": False,
        "dh_uncond detection AUC": True,
        "dh_base detection AUC": True,
        "a mask of ones, local IoU": True,
    }


def test_a_record_without_iou_is_refused() -> None:
    without = [dataclasses.replace(record, iou=None) for record in RECORDS]
    with pytest.raises(ValueError, match="no IoU of dh_uncond by the oracle protocol: scan with maps"):
        targets(without)


def test_a_missed_target_is_said_loudly() -> None:
    lines = list(target_lines([Target("figure", 0.5, (0.4, 0.6), 0.9), Target("figure", 0.5, None, 0.6, False)]))
    assert lines[0].endswith("0.500 [0.400, 0.600]   >= 0.90  MISSED")
    assert lines[1].endswith("<= 0.60  met")


def test_ones_iou_is_the_share_of_the_memorized_region() -> None:
    assert 0.40 < ones_iou() < 0.60
