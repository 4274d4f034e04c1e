"""What each metric of a run adds to its price: a call that several metrics share is split evenly among them."""

from collections.abc import Sequence

from memscan.scanner.metrics.metric import Metric
from memscan.scanner.metrics.plan import GUIDED_PASSES, Calls, GivenBy, plan_calls
from memscan.scanner.settings import Derivative


def price_shares(
    metrics: Sequence[Metric],
    gives: GivenBy,
    derivative: Derivative,
    *,
    first_measured: bool,
    unguided: bool = False,
    states_measured: int,
    passes_per_condition: float,
    passes_per_call: float,
    condition_passes: float,
) -> dict[str, float]:
    """Forward passes an image beyond sampling, by metric; their sum is what `Price` has as measuring.

    Args:
        gives, derivative, first_measured, unguided: as of `plan_calls`.
        passes_per_condition: of all calls that estimate a diagonal.
        passes_per_call: of one.
        condition_passes: of a derivative with respect to the text.
    """
    cost: dict[str, float] = {"guided": states_measured, "late": GUIDED_PASSES}
    cost |= {"condition": states_measured * passes_per_condition, "product": passes_per_call}
    cost |= {"observed": states_measured, "text": states_measured * condition_passes}
    said = {"first_measured": first_measured, "unguided": unguided}
    made = _items(plan_calls(metrics, gives, derivative, **said))
    own = {one.name: made & _items(plan_calls([one], gives, derivative, **said)) for one in metrics}
    sharing = {item: sum(item in mine for mine in own.values()) for item in made}
    return {name: sum(cost[str(item[0])] / sharing[item] for item in mine) for name, mine in own.items()}


def _items(calls: Calls) -> set[tuple[object, ...]]:
    """The calls one by one: what each is for `price_shares`, and which."""
    conditions = [("condition", at, of) for at in ("measured", "denoised") for of in getattr(calls, at)]
    products = [("product", ask) for ask in calls.products]
    observed = [("observed", of) for of in calls.observed]
    guided = [("guided", of) for of in calls.guided]
    once = [("late",)] if calls.late else []
    text = [("text",)] if calls.condition else []
    return {*conditions, *products, *observed, *guided, *once, *text}
