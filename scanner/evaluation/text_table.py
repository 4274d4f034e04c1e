"""The tables that `memscan eval` prints, 80 columns wide: localization by each protocol, and detection."""

from collections.abc import Iterator, Sequence

from memscan.scanner.evaluation.figures import DetectionRecord, Difference, Record
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.results.schema import SCORE_COLUMNS
from memscan.scanner.terminal import printable_lines

EXPLANATIONS = {
    "oracle": "oracle protocol: best of 101 thresholds, chosen on these very images (the paper's)",
    "fixed": "fixed protocol: the mask at memscan's own threshold",
}
_DETECTION = "detection: images of the kind against images of kind none"
_NAME = max(map(len, METRICS)) + 1
_SCORE = max(map(len, SCORE_COLUMNS)) + 1
_KIND = 10
_LOCALIZED = (
    f"{'metric':<{_NAME}}{'kind':<{_KIND}}{'images':>6}  {'IoU [95%]':<17} {'at value':>8}  {'mIoU':>5} {'acc.':>5}"
)
_DETECTED = f"{'score':<{_SCORE}}{'kind':<{_KIND}}{'images':>6} {'none':>5}  {'AUC [95%]':<17} {'TPR 1%':>6} {'.1%':>6}"
_FIGURE = _SCORE + len("TPR 0.1% ")
_COMPARED = f"{'figure':<{_FIGURE}}{'kind':<{_KIND}}{'first':>6} {'second':>6}  difference [95%]"


def table(records: Sequence[Record], detections: Sequence[DetectionRecord] = ()) -> str:
    """Records as text, without a newline at the end. A step without any figure is left out."""
    steps = {(one.step, one.timestep) for one in records} | {(one.step, one.timestep) for one in detections}
    blocks = []
    for step, timestep in sorted(steps):
        for protocol in ("oracle", "fixed"):
            found = [one for one in records if (one.step, one.protocol) == (step, protocol) and one.iou is not None]
            if found:
                blocks.append([f"step {step}, timestep {timestep}", EXPLANATIONS[protocol], _LOCALIZED])
                blocks[-1] += map(_localized, found)
        detected = [one for one in detections if one.step == step]
        if detected:
            blocks.append([f"step {step}, timestep {timestep}", _DETECTION, *_unsupported(detected), _DETECTED])
            blocks[-1] += map(_detected, detected)
    return printable_lines("\n\n".join("\n".join(line.rstrip() for line in block) for block in blocks))


def comparison(differences: Sequence[Difference]) -> str:
    """Differences as text, without a newline at the end: one block for each pair of timesteps."""
    blocks = []
    for pair in dict.fromkeys(one.timesteps for one in differences):
        first, second = pair
        levels = f"timestep {first}" if first == second else f"timestep {first} against {second}"
        lines = [f"{levels}: second minus first, on the images that both have", _COMPARED]
        lines += [_compared(one) for one in differences if one.timesteps == pair]
        blocks.append("\n".join(line.rstrip() for line in lines))
    return printable_lines("\n\n".join(blocks))


def _localized(record: Record) -> str:
    return (
        f"{record.map:<{_NAME}}{record.kind:<{_KIND}}{record.images:>6}"
        f"  {_with_interval(record.iou, record.iou_low, record.iou_high):<17}"
        f" {_value(record.iou_value):>8}  {_figure(record.miou):>5} {_figure(record.accuracy):>5}"
    )


def _detected(record: DetectionRecord) -> str:
    rates = " ".join(f"{_figure(rate.below):>6}" for rate in record.rates)
    return (
        f"{record.score:<{_SCORE}}{record.kind:<{_KIND}}{record.positives:>6} {record.negatives:>5}"
        f"  {_with_interval(record.auc, record.auc_low, record.auc_high):<17} {rates}"
    )


def _compared(one: Difference) -> str:
    figure = one.figure if one.protocol is None else f"{one.figure}, {one.protocol}"
    interval = "" if one.low is None or one.high is None else f" [{one.low:+.3f}, {one.high:+.3f}]"
    return (
        f"{figure:<{_FIGURE}}{one.kind:<{_KIND}}{_figure(one.first):>6} {_figure(one.second):>6}"
        f"  {one.difference:+.3f}{interval}"
    )


def _unsupported(records: Sequence[DetectionRecord]) -> Iterator[str]:
    """Which rates are not given, and why."""
    rates = {rate.limit: rate for record in records for rate in record.rates if rate.below is None}
    for rate in rates.values():
        yield (
            f"no rate at {100 * rate.limit:g}% false positives: it takes {rate.needed} captions of kind none, and there"
            f" are {rate.captions}"
        )


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return _figure(value)
    return f"{_figure(value)} [{_figure(low)}, {_figure(high)}]"


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _figure(value: float | None) -> str:
    """Three decimals without the leading zero: 0.9513 -> .951, 1 -> 1.00 (so that columns stay narrow)."""
    if value is None:
        return "-"
    text = f"{value:.3f}"
    return "1.00" if text == "1.000" else text.removeprefix("0")
