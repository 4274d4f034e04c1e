"""Writes docs/metrics.md from the catalogue: `python -m tests.metric_reference`. A test says when it is stale."""

from collections.abc import Iterator
from pathlib import Path

from memscan.scanner.bundle import Condition, Quantity
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.metrics.metric import Metric
from memscan.scanner.metrics.plan import GUIDED_PASSES, UNGUIDED_PASSES, plan_calls
from memscan.scanner.run.choice import FREE_MAP
from tests.analytic_bundle import GIVES

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"

LOW = ", ".join(f"`{metric.name}`" for metric in METRICS.values() if metric.memorized == "low")
OF_FIRST = ", ".join(f"`{metric.name}`" for metric in METRICS.values() if metric.needs_signal)
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
`--metrics free`), `--score` which column the `score` is: the 99% quantile of the mask's map by default. The sign of
what is low for memorized images ({LOW}) is turned there: a high `score` means memorized. A null says that
the image does not have it: what needs a less-trained baseline where the bundle has none, what is of sampling where the
row brings its own image, what compares steps where too few were taken. What is not finite makes an error row.
`update_z` needs a reference of clean prompts, and is not among `all` without one. Where a path begins at pure noise, by
flow matching or zero terminal SNR, eps is that noise whatever the prompt says: what is of the first state
({OF_FIRST}) is refused by name and not among the others,
and screening takes one step more. A model that does not attend to text, or has no middle block, lacks the metrics of
these, and so does a bundle that was exported before there were any.

Maps of curvature are in the collapse unit: 1 where the model leaves a pixel no freedom. `bright_ending` is a weight of
attention, the mean over heads and over the cross-attention layers on the way down at their finest resolution, enlarged
bilinearly to the latent's. The baseline of `dh_pad`, condition *padded*, is the prompt with the encodings of no prompt
at all positions behind its first end token: no attention is masked, so that no other graph is needed, and the end token
itself and the pooled encoding of Stable Diffusion XL stay. A prompt that fills all positions has no padding, and a map
of zeros.

Calls are those for each measured step if the metric were alone, or once an image; metrics share them, and what is of
sampling is made of what the steps answer anyway. A call of the measuring graph, for one condition and a group of
probes, or for one product, costs as many forward passes as the bundle's export counted for the kind of derivative; a
guided step is {GUIDED_PASSES}. Where nothing is guided (`--guidance 1`, or a model that guides itself) and the bundle
has a graph of steps with the prompt alone, as exports of distilled models do, the sampler's steps are
{UNGUIDED_PASSES} each, but for those of which a metric wants what is said without a prompt: then what is made of guided
steps is not free. To observe costs one, the derivative by the text one and what a tangent of the exact derivative
costs. `memscan run --dry-run` prints the price of a scan and each metric's part of it.
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
    calls = plan_calls([metric], _given, "exact", first_measured=False)
    measured = [
        *calls.measured,
        *(f"{condition}, at the denoised image" for condition in calls.denoised),
        *(f"{condition}, observed" for condition in calls.observed),
        *(["prompt, differentiated by the text"] if calls.condition else []),
    ]
    once = [f"once {ask}" for ask in calls.products] + (["once a guided step"] if calls.late else [])
    return "; ".join([*measured, *(["a guided step"] if calls.guided else []), *once]) or "none"


def _given(quantity: Quantity, of: Condition) -> tuple[str, ...]:
    """The graphs that give a quantity in a bundle of a model that attends to text."""
    return tuple(name for name, gives in GIVES.items() if of in gives.get(quantity, ()))


if __name__ == "__main__":
    PAGE.write_text(reference())
