"""From metrics to calls of graphs: no more than needed, nothing that no graph gives, and the price."""

import dataclasses

import pytest

from memscan.scanner.errors import UsageError
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.metrics.metric import Ask, Metric
from memscan.scanner.metrics.plan import Calls, plan_calls, price

PROMPT, NONE = Ask("eps", "prompt"), Ask("eps", "none")


def plan(*names: str) -> Calls:
    return plan_calls([METRICS[name] for name in names], has_baseline=True)


def cost(calls: Calls, **changes: int) -> tuple[float, float]:
    numbers = {"steps_taken": 7, "states_measured": 2, "num_probes": 8, "tangents_per_call": 8} | changes
    found = price(calls, **numbers)
    return found.sampling, found.measuring


@pytest.mark.parametrize(
    ("names", "measured", "denoised", "guided"),
    [
        (("dh_uncond", "ds_uncond", "h_cond"), ("prompt", "none"), (), False),
        (("dh_base", "ds_base"), ("prompt", "baseline"), (), False),
        (("h_cond",), ("prompt",), (), False),
        (("ds_uncond",), (), (), True),
        (("ds_base",), ("baseline",), (), True),
        (("dh_uncond", "guidance_norm", "guidance_first", "update_norm"), ("prompt", "none"), (), False),
        (("dh_base", "guidance_norm"), ("prompt", "baseline"), (), True),
        (("update_norm",), (), (), False),
        (("dh_uncond", "flipd"), ("prompt", "none"), ("prompt",), False),
        (("flipd",), (), ("prompt",), True),
    ],
    ids=lambda value: "+".join(value) or "-" if isinstance(value, tuple) else str(value),
)
def test_calls_are_those_that_are_needed(
    names: tuple[str, ...], measured: tuple[str, ...], denoised: tuple[str, ...], guided: bool
) -> None:
    calls = plan(*names)
    assert (calls.measured, calls.denoised, calls.guided) == (measured, denoised, guided)


def test_steps_answer_what_is_asked_of_them_and_nothing_else() -> None:
    assert (plan("dh_uncond", "flipd").every, plan("dh_uncond", "flipd").first) == (frozenset(), frozenset())
    calls = plan("dh_uncond", "guidance_first", "update_norm")
    assert (calls.every, calls.first) == ({Ask("state"), Ask("next_state")}, {PROMPT, NONE})
    assert plan("guidance_norm").every == {PROMPT, NONE}


def test_price_counts_padded_calls_and_sampling_apart() -> None:
    both = plan("dh_uncond", "guidance_norm")
    assert cost(both) == (14, pytest.approx(2 * 2 * (1 + 8 * 1.15)))
    assert cost(both, num_probes=16) == (14, pytest.approx(2 * 2 * 2 * (1 + 8 * 1.15)))
    assert cost(both, num_probes=9) == cost(both, num_probes=16)  # the second call is filled up with zeros
    assert cost(both, steps_taken=0, states_measured=1) == (0, pytest.approx(20.4))
    assert cost(plan("ds_uncond")) == (14, 2 * 2)
    assert cost(plan("update_norm")) == (14, 0)


def test_scores_of_sampling_cost_nothing_beside_the_default_maps() -> None:
    maps = plan(*(name for name, metric in METRICS.items() if metric.kind == "map"))
    assert cost(plan(*(name for name, metric in METRICS.items() if metric.default))) == cost(maps)


def other(**changes: object) -> Metric:
    return dataclasses.replace(METRICS["guidance_norm"], name="other", **changes)


@pytest.mark.parametrize(
    ("metric", "asked"),
    [
        (other(when="measured", asks=(Ask("attention", "prompt"),)), "attention of prompt"),
        (other(when="measured", asks=(Ask("product", "none"),)), "product of none"),
        (other(when="every", asks=(Ask("diagonal", "prompt"),)), "diagonal of prompt"),
        (other(when="measured", asks=(Ask("next_state"),)), "next_state"),
        (other(when="first", asks=(Ask("eps", "baseline"),)), "eps of baseline"),
        (other(when="every", asks=(Ask("eps", "prompt", "denoised"),)), "eps of prompt at the denoised image"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_what_no_graph_gives_is_one_clear_error(metric: Metric, asked: str) -> None:
    with pytest.raises(UsageError, match=f"^the metric other asks for {asked}, which no graph of this bundle gives$"):
        plan_calls([METRICS["h_cond"], metric], has_baseline=True)


def test_a_baseline_is_asked_of_bundles_that_have_one_only() -> None:
    with pytest.raises(UsageError, match=r"^the metric dh_base asks for diagonal of baseline, which no graph"):
        plan_calls([METRICS["dh_base"]], has_baseline=False)
