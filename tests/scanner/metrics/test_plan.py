"""From metrics to calls of graphs: no more than needed, nothing that no graph gives, and the price."""

import dataclasses
from typing import Any

import pytest

from memscan.scanner.bundle import Condition, Gives, Quantity, open_bundle
from memscan.scanner.embedded import BUNDLE
from memscan.scanner.errors import UsageError
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.metrics.metric import Ask, Metric
from memscan.scanner.metrics.plan import OBSERVED, Calls, plan_calls, price

PROMPT, NONE = Ask("eps", "prompt"), Ask("eps", "none")


GRAPHS: dict[str, Gives] = {
    "step.onnx": {"eps": ("prompt", "none"), "denoised": ("prompt",)},
    "measure.onnx": {"eps": ("prompt", "none"), "diagonal": ("prompt", "none")},
    "measure.shallow.onnx": {"eps": ("prompt", "none"), "diagonal": ("prompt", "none")},
    "baseline/measure.onnx": {"eps": ("baseline",), "diagonal": ("baseline",)},
    "observe.onnx": dict.fromkeys(OBSERVED, ("prompt", "none")),
    "condition.onnx": {"condition_product": ("prompt",)},
}


class Bundle:
    """What a bundle of certain graphs gives."""

    def __init__(self, graphs: dict[str, Gives]) -> None:
        self._graphs = graphs

    def gives(self, quantity: Quantity, of: Condition) -> tuple[str, ...]:
        return tuple(name for name, given in self._graphs.items() if of in given.get(quantity, ()))


def plan(*names: str) -> Calls:
    return plan_calls([METRICS[name] for name in names], Bundle(GRAPHS).gives, "exact")


def cost(calls: Calls, **changes: Any) -> tuple[float, float]:
    numbers = {
        "steps_taken": 7,
        "measured": (7, 8),
        "num_probes": 8,
        "tangents_per_call": 8,
    } | changes
    found = price(calls, **numbers, passes_per_call=10.2, condition_passes=2.1)
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
    assert (calls.measured, calls.denoised) == (measured, denoised)
    assert calls.guided == (("prompt", "none") if guided else ())


def test_steps_answer_what_is_asked_of_them_and_nothing_else() -> None:
    assert (plan("dh_uncond", "flipd").every, plan("dh_uncond", "flipd").first) == (frozenset(), frozenset())
    calls = plan("dh_uncond", "guidance_first", "update_norm")
    assert (calls.every, calls.first) == ({Ask("state"), Ask("next_state")}, {PROMPT, NONE})
    assert plan("guidance_norm").every == {PROMPT, NONE}


@pytest.mark.parametrize(
    ("names", "observed", "condition", "measured"),
    [
        (("bright_ending", "attention_entropy"), ("prompt",), False, ()),
        (("bright_ending", "bottleneck_spread"), ("prompt", "none"), False, ()),
        (("condition_jacobian",), (), True, ()),
        (("dh_pad",), (), False, ("prompt", "padded")),
        (("dh_uncond", "dh_pad", "bright_ending"), ("prompt",), False, ("prompt", "none", "padded")),
    ],
    ids=lambda value: "+".join(value) or "-" if isinstance(value, tuple) else str(value),
)
def test_looking_into_the_denoiser_is_called_for_once_a_condition(
    names: tuple[str, ...], observed: tuple[str, ...], condition: bool, measured: tuple[str, ...]
) -> None:
    calls = plan(*names)
    assert (calls.observed, calls.condition, calls.measured, calls.guided) == (observed, condition, measured, ())
    here = len(observed) + 2.1 * condition + 10.2 * len(measured)
    assert cost(calls) == (14, pytest.approx(2 * here))


def test_price_counts_padded_calls_and_sampling_apart() -> None:
    both = plan("dh_uncond", "guidance_norm")
    assert cost(both) == (14, pytest.approx(2 * 2 * 10.2))
    assert cost(both, num_probes=16) == (14, pytest.approx(2 * 2 * 2 * 10.2))
    assert cost(both, num_probes=9) == cost(both, num_probes=16)  # the second call is filled up with zeros
    assert cost(both, steps_taken=0, measured=(0,)) == (0, pytest.approx(20.4))
    assert cost(plan("ds_uncond")) == (14, 2 * 2)
    assert cost(plan("update_norm")) == (14, 0)


def test_a_step_whose_eps_is_measured_is_not_paid_for() -> None:
    assert cost(plan("dh_uncond"), measured=(6, 7))[0] == cost(plan("ds_uncond"), measured=(6, 7))[0] == 14 - 2
    assert cost(plan("dh_uncond"), measured=(0, 6))[0] == 14 - 4
    for other in ("h_cond", "dh_base", "update_norm"):  # eps of none is not asked for
        assert cost(plan(other), measured=(0, 6))[0] == 14


def unguided(*names: str, first_measured: bool = False) -> Calls:
    metrics = [METRICS[name] for name in names]
    return plan_calls(metrics, Bundle(GRAPHS).gives, "exact", first_measured=first_measured, unguided=True)


def test_where_nothing_is_guided_a_step_is_one_pass() -> None:
    for name in ("dh_uncond", "ds_uncond", "h_cond", "update_norm"):  # of none at measured states, or not at all
        assert cost(unguided(name)) == (7, cost(plan(name))[1])


def test_a_step_of_which_a_metric_wants_none_is_two_passes_without_guidance_too() -> None:
    assert cost(unguided("dh_uncond", "guidance_norm"))[0] == 14
    assert cost(unguided("dh_uncond", "guidance_first"))[0] == 2 + 6  # of the first step alone
    assert cost(unguided("guidance_norm"), measured=(3,))[0] == 2 * 3 + 3  # up to the measured state, then alone


def test_without_guidance_a_measured_prompt_is_all_that_a_step_takes() -> None:
    assert cost(unguided("h_cond"), measured=(0, 6))[0] == cost(unguided("dh_uncond"), measured=(0, 6))[0] == 7 - 2
    assert cost(unguided("update_norm"), measured=(0, 6))[0] == 7
    assert cost(unguided("dh_base", "guidance_norm"), measured=(0, 6))[0] == 2 * 5


@pytest.mark.parametrize(
    ("names", "guided"),
    [
        (("ds_base",), ("prompt",)),
        (("one_step_error",), ("prompt",)),
        (("ds_uncond",), ("prompt", "none")),
        (("ds_base", "guidance_norm"), ("prompt", "none")),
        (("h_cond", "one_step_error"), ()),
    ],
    ids=lambda value: "+".join(value) or "-",
)
def test_without_guidance_a_step_for_its_answers_has_the_conditions_that_are_asked(
    names: tuple[str, ...], guided: tuple[str, ...]
) -> None:
    assert unguided(*names).guided == guided


def test_scores_of_sampling_cost_nothing_beside_the_default_maps() -> None:
    maps = plan(*(name for name, metric in METRICS.items() if metric.kind == "map" and metric.default))
    assert cost(plan(*(name for name, metric in METRICS.items() if metric.default))) == cost(maps)


def other(**changes: object) -> Metric:
    return dataclasses.replace(METRICS["guidance_norm"], name="other", **changes)


NOWHERE, UNDERWAY, THERE = (
    "which no graph of this bundle gives",
    "on the way of the sampler, where no call of a scan gives it",
    "at a measured state, where no call of a scan gives it",
)
LATE = f" at noise that is told to be late {UNDERWAY}"


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (other(when="measured", asks=(Ask("token_attention", "baseline"),)), f"token_attention of baseline, {NOWHERE}"),
        (
            other(when="first", asks=(Ask("product", "baseline", along="own"),)),
            f"product along own of baseline {UNDERWAY}",
        ),
        (other(when="first", asks=(Ask("product", "none"),)), f"product of none {UNDERWAY}"),
        (other(when="measured", asks=(Ask("product", "none", along="own"),)), f"product along own of none {THERE}"),
        (
            other(when="every", asks=(Ask("eps", "prompt", "late"),)),
            f"eps of prompt at noise that is told to be late {UNDERWAY}",
        ),
        (other(when="measured", asks=(Ask("eps", "prompt", "before"),)), f"eps of prompt at the state before {THERE}"),
        (other(when="every", asks=(Ask("diagonal", "prompt"),)), f"diagonal of prompt {UNDERWAY}"),
        (other(when="every", asks=(Ask("bottleneck", "none"),)), f"bottleneck of none {UNDERWAY}"),
        (other(when="measured", asks=(Ask("bottleneck", "padded"),)), f"bottleneck of padded {THERE}"),
        (other(when="measured", asks=(Ask("condition_product", "none"),)), f"condition_product of none, {NOWHERE}"),
        (other(when="measured", asks=(Ask("next_state"),)), f"next_state {THERE}"),
        (other(when="first", asks=(Ask("eps", "baseline"),)), f"eps of baseline {UNDERWAY}"),
        (
            other(when="every", asks=(Ask("eps", "prompt", "denoised"),)),
            f"eps of prompt at the denoised image {UNDERWAY}",
        ),
    ],
    ids=lambda value: value.partition(",")[0].replace(" ", "-") if isinstance(value, str) else "",
)
def test_what_no_graph_gives_is_one_clear_error(metric: Metric, message: str) -> None:
    with pytest.raises(UsageError, match=f"^the metric other asks for {message}$"):
        plan_calls([METRICS["h_cond"], metric], Bundle(GRAPHS).gives, "exact")


@pytest.mark.parametrize(
    ("name", "lacking", "asked"),
    [
        ("dh_base", "baseline/measure.onnx", "diagonal of baseline"),
        ("h_cond", "measure.onnx", "diagonal of prompt"),
        ("guidance_first", "step.onnx", "eps of prompt"),
    ],
)
def test_what_can_be_asked_is_what_the_graphs_of_the_bundle_give(name: str, lacking: str, asked: str) -> None:
    graphs = {graph: gives for graph, gives in GRAPHS.items() if graph not in (lacking, "measure.shallow.onnx")}
    plan(name)
    with pytest.raises(UsageError, match=f"^the metric {name} asks for {asked}"):
        plan_calls([METRICS[name]], Bundle(graphs).gives, "exact")


def test_a_quantity_that_a_bundle_gives_but_no_scan_calls_for_is_no_gap_of_the_bundle() -> None:
    metric = other(when="measured", asks=(Ask("product", "prompt"),))
    graphs = GRAPHS | {"product.onnx": {"product": ("prompt",)}}
    with pytest.raises(UsageError, match=f"^the metric other asks for product of prompt {THERE}$"):
        plan_calls([metric], Bundle(graphs).gives, "exact")


def test_eps_that_the_step_does_not_give_is_measured() -> None:
    graphs = GRAPHS | {"step.onnx": {"denoised": ("prompt",)}}
    calls = plan_calls([METRICS["ds_uncond"]], Bundle(graphs).gives, "exact")
    assert (calls.measured, calls.guided) == (("prompt", "none"), ())


def test_the_embedded_bundle_gives_all_metrics() -> None:
    calls = plan_calls(list(METRICS.values()), open_bundle(BUNDLE, verify=False).gives, "exact")
    assert calls == plan(*METRICS)


def test_the_graph_of_the_chosen_derivative_is_the_one_that_must_give_it() -> None:
    """This model's measuring graph is there for both kinds, its baseline's for the exact one alone."""
    gives = Bundle(GRAPHS).gives
    assert plan_calls([METRICS["h_cond"]], gives, "shallow") == plan_calls([METRICS["h_cond"]], gives, "exact")
    assert plan_calls([METRICS["dh_base"]], gives, "exact").measured == ("prompt", "baseline")
    with pytest.raises(UsageError, match=f"^the metric dh_base asks for diagonal of baseline {THERE}$"):
        plan_calls([METRICS["dh_base"]], gives, "shallow")
    with pytest.raises(UsageError, match=f"^the metric h_cond asks for diagonal of prompt {THERE}$"):
        plan_calls([METRICS["h_cond"]], gives, "frozen")
