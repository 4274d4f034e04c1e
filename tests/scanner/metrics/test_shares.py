"""What each metric adds to the price: shared calls are split, and the shares add up to what measuring costs."""

import pytest

from memscan.scanner.bundle import Condition, Quantity
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.metrics.plan import plan_calls, price
from memscan.scanner.metrics.shares import price_shares
from tests.analytic_bundle import GIVES


def gives(quantity: Quantity, of: Condition) -> tuple[str, ...]:
    """The graphs of a bundle that gives all."""
    return tuple(name for name, given in GIVES.items() if of in given.get(quantity, ()))


def shares(*names: str, states: int = 2, first: bool = False, unguided: bool = False) -> dict[str, float]:
    return price_shares(
        [METRICS[name] for name in names],
        gives,
        "exact",
        first_measured=first,
        unguided=unguided,
        states_measured=states,
        passes_per_condition=18.0,
        passes_per_call=9.0,
        condition_passes=2.25,
    )


def test_a_call_is_split_among_the_metrics_that_ask_for_it() -> None:
    assert shares("dh_uncond", "h_cond") == {"dh_uncond": 2 * (9 + 18), "h_cond": 2 * 9}
    assert shares("sharpness", "anisotropy", "late_cosine") == {"sharpness": 18, "anisotropy": 1, "late_cosine": 1}
    assert shares("sharpness", "hessian_score") == {"sharpness": 18, "hessian_score": 18}


def test_metrics_that_look_into_the_denoiser_share_a_look() -> None:
    assert shares("bright_ending", "attention_entropy") == {"bright_ending": 1, "attention_entropy": 1}
    assert shares("bottleneck_spread", "condition_jacobian") == {"bottleneck_spread": 2, "condition_jacobian": 4.5}
    assert shares("dh_pad", "h_cond") == {"dh_pad": 2 * (9 + 18), "h_cond": 2 * 9}


def test_what_others_pay_for_is_free_and_alone_it_is_a_guided_step() -> None:
    assert shares("dh_uncond", "ds_uncond") == {"dh_uncond": 72, "ds_uncond": 0}
    assert shares("ds_uncond", "guidance_norm") == {"ds_uncond": 2, "guidance_norm": 2}
    assert shares("guidance_first") == {"guidance_first": 0}
    assert shares("guidance_first", first=True) == {"guidance_first": 4}


def test_without_guidance_each_pays_for_the_conditions_that_it_asks() -> None:
    assert shares("ds_base", "ds_uncond", unguided=True) == {"ds_base": 36 + 1, "ds_uncond": 2 + 1}
    assert shares("one_step_error", unguided=True) == {"one_step_error": 2}


@pytest.mark.parametrize("names", [tuple(METRICS), ("ds_uncond", "ds_base", "one_step_error")], ids=["all", "some"])
@pytest.mark.parametrize("unguided", [False, True], ids=["guided", "unguided"])
@pytest.mark.parametrize("first", [False, True], ids=["later", "first"])
def test_shares_add_up_to_the_price(first: bool, unguided: bool, names: tuple[str, ...]) -> None:
    metrics = [METRICS[name] for name in names]
    calls = plan_calls(metrics, gives, "exact", first_measured=first, unguided=unguided)
    whole = price(
        calls,
        steps_taken=5,
        measured=(5, 6),
        num_probes=16,
        tangents_per_call=8,
        passes_per_call=9.0,
        condition_passes=2.25,
    )
    assert sum(shares(*names, first=first, unguided=unguided).values()) == pytest.approx(whole.measuring)
