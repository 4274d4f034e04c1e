"""Which metrics a run measures, which map its masks are made of, and which column its score is."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from memscan.scanner.bundle import Bundle
from memscan.scanner.errors import UsageError
from memscan.scanner.metrics.catalogue import MAPS, METRICS, SCORES
from memscan.scanner.metrics.metric import Metric
from memscan.scanner.metrics.plan import is_free, is_given, plan_calls
from memscan.scanner.results.schema import SCORE_COLUMNS, SUMMARIES, USUAL_SUMMARY
from memscan.scanner.settings import Derivative

GROUPS = ("all", "free")
"""Words for more than one metric: all that the bundle can give, and those that guided steps answer."""

FREE_MAP = "ds_path"
"""What masks are made of where nothing is measured that is not free."""


class Chosen(NamedTuple):
    """Names of the catalogue, in its order; one of the maps; one of the columns that a score can be."""

    metrics: tuple[str, ...]
    mask_map: str
    score_name: str


def choose(
    bundle: Bundle,
    asked: Sequence[str],
    mask_map: str,
    score_name: str | None,
    steps: Sequence[int],
    derivative: Derivative,
    references: Collection[str] = (),
    pure_noise: bool = False,
) -> Chosen:
    """What to measure; the metrics of mask and score are measured whether they are among the others or not.

    Args:
        asked: names of metrics or one of `GROUPS`; none for the default ones.
        score_name: None for `USUAL_SUMMARY` of the mask's map.
        steps: indices of the measured steps.
        derivative: a kind that the bundle has.
        references: the metrics of which there is a reference.
        pure_noise: whether the sampler's path begins at alpha = 0.

    Raises:
        UsageError: an unknown name, or a metric that the bundle cannot give or that a step does not have.
    """
    if mask_map not in MAPS:
        raise UsageError(f"--mask-map {mask_map}: expected one of {', '.join(MAPS)}")
    score_name = score_name or f"{mask_map}_{USUAL_SUMMARY}"
    if score_name not in SCORE_COLUMNS:
        raise UsageError(
            f"--score {score_name}: expected one of {', '.join(SCORES)}, or {_summaries()} of a map: {', '.join(MAPS)}"
        )
    score = SCORE_COLUMNS[score_name]
    if steps and min(steps) < score.since:
        raise UsageError(
            f"--score {score_name}: there is none before step {score.since}, and step {min(steps)} is measured"
        )
    named = [name for name in asked if name not in GROUPS]
    for name in named:
        if name not in METRICS:
            raise UsageError(f"--metrics {name}: expected {', '.join(GROUPS)}, or some of {', '.join(METRICS)}")
    for option, name in (("--mask-map", mask_map), ("--score", score.name), *(("--metrics", name) for name in named)):
        if METRICS[name].needs_baseline and not bundle.has_baseline:
            raise UsageError(f"{option} {name} needs a less-trained baseline, which {bundle.path} does not have")
        if METRICS[name].needs_reference and name not in references:
            raise UsageError(f"{option} {name} needs a reference of clean prompts, which this model does not have")
        if METRICS[name].needs_signal and pure_noise:
            raise UsageError(
                f"{option} {name} has no value here: it is of the path's first state, which of this model is pure noise"
                " and tells nothing of the prompt"
            )
    possible = [
        metric
        for metric in METRICS.values()
        if (bundle.has_baseline or not metric.needs_baseline)
        and (metric.name in references or not metric.needs_reference)
        and not (metric.needs_signal and pure_noise)
    ]
    wanted = {mask_map, score.name, *named, *_of_groups(bundle, asked, possible, derivative)}
    metrics = tuple(name for name in METRICS if name in wanted)
    plan_calls([METRICS[name] for name in metrics], bundle.gives, derivative)
    return Chosen(metrics, mask_map, score_name)


def _summaries() -> str:
    names = [f"NAME_{summary}" for summary in SUMMARIES]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _of_groups(bundle: Bundle, asked: Sequence[str], possible: Sequence[Metric], derivative: Derivative) -> list[str]:
    if not asked:
        return [metric.name for metric in possible if metric.default]
    if "all" in asked:
        return [metric.name for metric in possible if is_given(metric, bundle.gives, derivative)]
    return [metric.name for metric in possible if "free" in asked and is_free(metric)]
