"""Writes docs/metrics.md from the catalogue: `python -m tests.metric_reference`. A test says when it is stale."""

from collections.abc import Iterator
from pathlib import Path

from memscan.scanner.bundle import open_bundle
from memscan.scanner.embedded import BUNDLE
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.metrics.metric import Metric
from memscan.scanner.metrics.plan import GUIDED_PASSES, plan_calls
from memscan.scanner.run.choice import FREE_MAP

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"

LOW = ", ".join(f"`{metric.name}`" for metric in METRICS.values() if metric.memorized == "low")
_WHEN = {
    "measured": "the measured state",
    "first": "the sampler's first step",
    "every": "all steps up to the measured state",
}
_EXPLANATIONS = f"""\
A map gives the columns `NAME_mean`, `NAME_max`, `NAME_q90` and `NAME_q99`, and with `--maps` itself; `NAME_share` is
the share of its pixels that reach the threshold that is calibrated for it, null where none is. A score gives the column
`NAME`. The mean misses a small copy, which a quantile finds. `--smooth N` takes the mean of N x N cells in place of
each, before all of this; a threshold holds for the smoothing that it was calibrated with.

Metrics marked \\* are measured unless `--metrics` says otherwise: some by name, `all` that the model can give, or those
that are `free`, made of nothing but guided steps. `--mask-map` says which map the mask is made of (`{FREE_MAP}` with
`--metrics free`), `--score` which column the `score` is: the mean of the mask's map by default. The sign of what is low
for memorized images ({LOW}) is turned there: a high `score` means memorized. A null says that
the image does not have it: what needs a less-trained baseline where the bundle has none, what is of sampling where the
row brings its own image, what compares steps where too few were taken. What is not finite makes an error row.
`update_z` needs a reference of clean prompts, and is not among `all` without one.

Maps of curvature are in the collapse unit: 1 where the model leaves a pixel no freedom. Calls are those for each
measured step if the metric were alone, or once an image; metrics share them, and what is of sampling is made of what
the steps answer anyway. A call of the measuring graph, for one condition and a group of probes, or for one product,
costs as many forward passes as the bundle's export counted for the kind of derivative; a guided step is
{GUIDED_PASSES}. `memscan run --dry-run` prints the price of a scan and each metric's part of it.
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
    calls = plan_calls([metric], open_bundle(BUNDLE, verify=False).gives, "exact", first_measured=False)
    measured = [*calls.measured, *(f"{condition}, at the denoised image" for condition in calls.denoised)]
    once = [f"once {ask}" for ask in calls.products] + (["once a guided step"] if calls.late else [])
    return "; ".join([*measured, *(["a guided step"] if calls.guided else []), *once]) or "none"


if __name__ == "__main__":
    PAGE.write_text(reference())
