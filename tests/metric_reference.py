"""Writes docs/metrics.md from the catalogue: `python -m tests.metric_reference`. A test says when it is stale."""

from collections.abc import Iterator
from pathlib import Path

from memscan.scanner.bundle import open_bundle
from memscan.scanner.embedded import BUNDLE
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.metrics.metric import Metric
from memscan.scanner.metrics.plan import GUIDED_PASSES, plan_calls

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"

_WHEN = {
    "measured": "the measured state",
    "first": "the sampler's first step",
    "every": "all steps up to the measured state",
}
_EXPLANATIONS = f"""\
A map gives the columns `NAME_mean`, `NAME_max` and `NAME_q99`, and with `--maps` itself; a score gives the column
`NAME`. Metrics marked \\* are measured unless `--metrics` says otherwise. `--mask-map` says which map the mask is made
of, `--score` which column the `score` is: the mean of the mask's map by default. The sign of what is low for memorized
images (`flipd`) is turned there: a high `score` means memorized. A null says that the image does not have it: what
needs a less-trained baseline where the bundle has none, what is of sampling where the row brings its own image. What is
not finite makes an error row.

Maps are in the collapse unit: 1 where the model leaves a pixel no freedom. Calls are those for each measured step if
the metric were alone; metrics share them, and scores of sampling are made of what the steps answer anyway. A call of
the measuring graph, for one condition and a group of probes, costs as many forward passes as the bundle's export
counted for the kind of derivative; a guided step is {GUIDED_PASSES}. `memscan run --dry-run` prints the price of a
scan.
"""


def reference() -> str:
    """The page."""
    rows = "\n".join(f"| {' | '.join(row)} |" for row in _rows())
    return (
        "# Metrics\n\nMade from the catalogue by `python -m tests.metric_reference`.\n\n"
        f"| metric | | what it says | of | calls | source |\n|---|---|---|---|---|---|\n{rows}\n\n{_EXPLANATIONS}"
    )


def _rows() -> Iterator[tuple[str, ...]]:
    for metric in METRICS.values():
        mark = " \\*" if metric.default else ""
        yield f"`{metric.name}`{mark}", metric.kind, metric.says, _WHEN[metric.when], _calls(metric), metric.source


def _calls(metric: Metric) -> str:
    calls = plan_calls([metric], open_bundle(BUNDLE, verify=False).gives, "exact")
    measured = [*calls.measured, *(f"{condition}, at the denoised image" for condition in calls.denoised)]
    return "; ".join([*measured, *(["a guided step"] if calls.guided else [])]) or "none"


if __name__ == "__main__":
    PAGE.write_text(reference())
