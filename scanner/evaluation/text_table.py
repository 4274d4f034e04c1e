"""The table that `memscan eval` prints: one block for each step and protocol, at most 80 columns wide."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from memscan.scanner.evaluation.evaluate import Record
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.terminal import printable_lines

EXPLANATIONS = {
    "oracle": "oracle protocol: best of 101 thresholds, chosen on these very images (the paper's)",
    "fixed": "fixed protocol: the mask at memscan's own threshold",
}
_NAME = max(map(len, METRICS)) + 1
_HEADING = f"{'metric':<{_NAME}}{'kind':<7}{'images':>6}  {'IoU [95%]':<17} {'mIoU':>5} {'acc.':>5}  {'AUC [95%]':<17}"


def table(records: Sequence[Record]) -> str:
    """`records` as text, without a newline at the end."""
    return printable_lines("\n".join(_lines(records)))


def _lines(records: Sequence[Record]) -> Iterator[str]:
    blocks = sorted(records, key=lambda record: (record.step, record.protocol != "oracle"))
    for number, ((step, timestep, protocol), block) in enumerate(
        groupby(blocks, key=lambda record: (record.step, record.timestep, record.protocol))
    ):
        if number:
            yield ""
        yield f"step {step}, timestep {timestep}"
        yield EXPLANATIONS[protocol]
        yield _HEADING.rstrip()
        for record in block:
            yield _row(record).rstrip()


def _row(record: Record) -> str:
    return (
        f"{record.map:<{_NAME}}{record.kind:<7}{record.images:>6}"
        f"  {_with_interval(record.iou, record.iou_low, record.iou_high):<17}"
        f" {_figure(record.miou):>5} {_figure(record.accuracy):>5}"
        f"  {_with_interval(record.auc, record.auc_low, record.auc_high):<17}"
    )


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return _figure(value)
    return f"{_figure(value)} [{_figure(low)}, {_figure(high)}]"


def _figure(value: float | None) -> str:
    """Three decimals without the leading zero: 0.9513 -> .951, 1 -> 1.00 (so that columns stay narrow)."""
    if value is None:
        return "-"
    text = f"{value:.3f}"
    return "1.00" if text == "1.000" else text.removeprefix("0")
