"""All metrics by name, in the order of their columns: schema, evaluation, sheet and reference follow from here."""

from memscan.scanner.metrics import (
    alignment,
    attention_entropy,
    bottleneck_spread,
    bright_ending,
    condition_jacobian,
    curvature,
    evolution,
    flipd,
    guidance_norm,
    one_step,
    score_difference,
    sharpness,
    update_norm,
)
from memscan.scanner.metrics.metric import Metric

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        curvature.DH_UNCOND,
        curvature.DH_BASE,
        score_difference.DS_UNCOND,
        score_difference.DS_BASE,
        curvature.H_COND,
        score_difference.PATH,
        alignment.MAP,
        guidance_norm.MEAN,
        guidance_norm.FIRST,
        update_norm.METRIC,
        update_norm.LAST,
        update_norm.STANDARDIZED,
        alignment.LATE,
        alignment.BOTH,
        evolution.METRIC,
        one_step.CONFIDENCE,
        one_step.ERROR,
        sharpness.GUIDANCE,
        sharpness.OWN,
        flipd.METRIC,
        curvature.DH_PAD,
        bright_ending.METRIC,
        attention_entropy.METRIC,
        bottleneck_spread.METRIC,
        condition_jacobian.METRIC,
    )
}

MAPS = tuple(name for name, metric in METRICS.items() if metric.kind == "map")
SCORES = tuple(name for name, metric in METRICS.items() if metric.kind == "score")
