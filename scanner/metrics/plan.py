"""From the chosen metrics to calls of a bundle's graphs, as few as there can be, and what they cost.

A measuring call gives the diagonal and, for nothing, eps of the same condition. A guided step gives, for nothing, eps
of the prompt and of none, the denoised estimate and both states: on the sampler's way it is taken anyway; at a measured
state it is taken for its answers if no measuring call gives them, since it is cheaper. Where a measured state has eps
of the prompt and of none, by either, the sampler's step from there needs no run of the denoiser.

Where sampling is not guided, its steps need the prompt alone. A bundle with a graph of such steps has them run at half
the price, but for those of which a metric wants eps of none.

At the path's first state a guided step can be told that it is late, and a measuring call gives a product J v along a
direction that is made of eps: whoever knows v knows J v from v * (J v).
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from memscan.scanner import graph_names
from memscan.scanner.bundle import Condition, Quantity
from memscan.scanner.errors import UsageError
from memscan.scanner.metrics.metric import Ask, Metric
from memscan.scanner.settings import Derivative

GivenBy = Callable[[Quantity, Condition], Sequence[str]]
"""The graphs of a bundle that give a quantity: `Bundle.gives`."""

GUIDED_PASSES = 2
"""Forward passes of a guided step: with the prompt and without."""

UNGUIDED_PASSES = 1
"""Those of a step with the prompt alone."""

STEP_ASKS = frozenset(
    {
        Ask("eps", "prompt"),
        Ask("eps", "none"),
        Ask("denoised"),
        Ask("state"),
        Ask("next_state"),
    }
)
"""What a guided step can answer."""

GUIDANCE_ASKS = (Ask("eps", "prompt"), Ask("eps", "none"))
"""What a guided step asks the denoiser, in the order of `Guidance`."""

OBSERVED: tuple[Quantity, ...] = ("last_token_attention", "token_attention", "bottleneck")
"""What the observing graph can answer."""

_STATES = ("state", "next_state")
_EARLIER = ("before", "first")
_EPS, _NONE, _DENOISED = Ask("eps", "prompt"), Ask("eps", "none"), Ask("denoised")
_OF_STATE = frozenset({Ask("state")})
_AT_MEASURED = STEP_ASKS - {Ask("next_state")}


@dataclasses.dataclass(frozen=True)
class Calls:
    """The calls of a scan, and which of their answers are wanted on the host.

    `measured` and `denoised` are the conditions of the measuring calls at a measured state, and at its denoised image;
    `guided` are those of the step that is taken there for its answers, if one is. Once, at the path's first state,
    `late` is a guided step that is told to be late, and each of `products` is a measuring call. `first` and `every` are
    wanted of the sampler's first step and of every step, `here` of the measured state. `observed` are the conditions of
    the observing calls at a measured state; `condition` says that the derivative with respect to the text is taken
    there. `unguided` says that the sampler's steps may be run with the prompt alone.
    """

    measured: tuple[Condition, ...]
    denoised: tuple[Condition, ...]
    guided: tuple[Condition, ...]
    late: bool
    products: tuple[Ask, ...]
    here: frozenset[Ask]
    first: frozenset[Ask]
    every: frozenset[Ask]
    observed: tuple[Condition, ...] = ()
    condition: bool = False
    unguided: bool = False

    @property
    def conditions(self) -> frozenset[Condition]:
        """Those whose text is needed beside that of a guided step."""
        return frozenset({*self.measured, *self.denoised, *self.observed})

    @property
    def guiding(self) -> tuple[Ask, ...]:
        """What the sampler's step from a measured state takes of its answers, or the path wants of it."""
        alone = self.unguided and _NONE not in self.here | self.every
        return (_EPS,) if alone else GUIDANCE_ASKS

    @property
    def give_guidance(self) -> bool:
        """Whether a measured state answers all that the sampler's step from there asks the denoiser."""
        return {ask.of for ask in self.guiding} <= {*self.guided, *self.measured}

    def wanted(self, index: int) -> frozenset[Ask]:
        """What the sampler's step from the state `index` must answer, if a state behind it is measured."""
        return self.every if index else self.every | self.first

    def alone_at(self, index: int, watched: int) -> bool:
        """Whether the sampler's step from the state `index` is run with the prompt alone.

        Args:
            watched: index of the last state that is measured.
        """
        return self.unguided and not (index < watched and _NONE in self.wanted(index))


def plan_calls(
    metrics: Sequence[Metric],
    gives: GivenBy,
    derivative: Derivative,
    *,
    first_measured: bool = True,
    unguided: bool = False,
) -> Calls:
    """The calls that give all that the metrics ask.

    Args:
        gives: which graphs of the bundle give a quantity.
        derivative: the kind whose measuring graphs are called.
        first_measured: whether the path's first state is measured, which then has to answer for its first step.
        unguided: whether the sampler's steps may be run with the prompt alone: `Bundle.is_unguided`.

    Raises:
        UsageError: no graph of the bundle gives what a metric asks, or not where it is asked.
    """
    for metric in metrics:
        for ask in metric.asks:
            _check(ask, metric, gives, derivative)
    asked = {ask for metric in metrics for ask in metric.asks}
    products = tuple(sorted(ask for ask in asked if ask.quantity == "product"))
    there = (metric for metric in metrics if not metric.of_steps_before and (metric.when != "first" or first_measured))
    here = {_at_state(ask) for metric in there for ask in metric.asks if ask.at != "late" and ask not in products}
    here.update(GUIDANCE_ASKS if products and first_measured else ())
    if any(ask.at == "denoised" for ask in here):
        here.add(_EPS)
    not_of_step = {ask for ask in here if ask.quantity == "eps" and graph_names.STEP not in _graphs(ask, gives)}
    diagonals = {ask for ask in here if ask.quantity == "diagonal"}
    measured = _conditions(diagonals | not_of_step, ("diagonal", "eps"), "state")
    known = {*_OF_STATE, *(ask for ask in GUIDANCE_ASKS if ask.of in measured)}
    known.update((_DENOISED,) if known.issuperset((_EPS,) if unguided else GUIDANCE_ASKS) else ())
    from_step = here & _AT_MEASURED - known
    of_step: tuple[Condition, ...] = ("prompt",) if unguided and _NONE not in from_step else ("prompt", "none")
    return Calls(
        measured=measured,
        denoised=_conditions(here, ("diagonal", "eps"), "denoised"),
        guided=of_step if from_step else (),
        late=any(ask.at == "late" for ask in asked),
        products=products,
        here=frozenset(here),
        first=_asks(metrics, "first").union(GUIDANCE_ASKS if products else ()),
        every=_asks(metrics, "every"),
        observed=_conditions(here, OBSERVED, "state"),
        condition=any(ask.quantity == "condition_product" for ask in here),
        unguided=unguided,
    )


def is_free(metric: Metric) -> bool:
    """Whether guided steps alone answer all that a metric asks, so that it costs nothing beyond sampling."""
    return all(_at_state(ask) in STEP_ASKS for ask in metric.asks)


def is_given(metric: Metric, gives: GivenBy, derivative: Derivative) -> bool:
    """Whether a bundle's graphs answer all that a metric asks."""
    return all(_called(ask, metric, derivative) & set(_graphs(ask, gives)) for ask in metric.asks)


def price_in_words(metric: Metric) -> str:
    """What a metric alone costs beyond sampling: conditions with K probes at each measured state, or calls once."""
    if is_free(metric):
        return "free"
    calls = plan_calls([metric], _given_by_any_model, "exact", first_measured=False)
    each, once = len(calls.measured + calls.denoised), len(calls.products)
    parts = [f"{each} x K" if each else "", f"{once} calls once" if once else ""]
    parts.append("2 passes once" if calls.late else "")
    parts.append(f"{len(calls.observed)} to observe" if calls.observed else "")
    parts.append("1 x the text" if calls.condition else "")
    return ", ".join(part for part in parts if part)


def _given_by_any_model(quantity: Quantity, of: Condition) -> Sequence[str]:
    if of == "baseline":
        return (graph_names.of_baseline(graph_names.MEASURE),)
    return graph_names.STEP, graph_names.MEASURE, graph_names.OBSERVE, graph_names.CONDITION


@dataclasses.dataclass(frozen=True)
class Price:
    """Forward passes of the denoiser for an image, by the count of operations: `sampling` it, and `measuring` it at all
    steps, by measuring calls of `passes_per_call` for `tangents_per_call` tangents each.
    """

    sampling: float
    measuring: float
    tangents_per_call: int
    passes_per_call: float

    @property
    def total(self) -> float:
        return self.sampling + self.measuring

    def __str__(self) -> str:
        return (
            f"{self.sampling:g} to sample, about {self.measuring:.0f} to measure (by count {self.passes_per_call:.3g} "
            f"a call of {self.tangents_per_call} tangents)"
        )


def price(
    calls: Calls,
    *,
    steps_taken: int,
    measured: Sequence[int],
    num_probes: int,
    tangents_per_call: int,
    passes_per_call: float,
    condition_passes: float,
) -> Price:
    """What an image costs that is sampled; one that is given costs the measuring at its states alone.

    Args:
        steps_taken: the sampler's, on the way to the last state that is needed.
        measured: indices of the measured states, ascending.
        num_probes: in groups of `tangents_per_call`, the last of which is filled up.
        passes_per_call: forward passes that one call of the measuring graph costs: `Bundle.passes` of its kind.
        condition_passes: those of a derivative with respect to the text; observing costs one.
    """
    groups = -(-num_probes // tangents_per_call)
    here = len(calls.measured + calls.denoised) * groups * passes_per_call + len(calls.guided)
    here += len(calls.observed) + condition_passes * calls.condition
    once = GUIDED_PASSES * calls.late + len(calls.products) * passes_per_call
    run = set(range(steps_taken)) - {*(measured if calls.give_guidance else ())}
    alone = sum(calls.alone_at(index, measured[-1]) for index in run)
    sampling = GUIDED_PASSES * len(run) - (GUIDED_PASSES - UNGUIDED_PASSES) * alone
    return Price(sampling, len(measured) * here + once, tangents_per_call, passes_per_call)


def _check(ask: Ask, metric: Metric, gives: GivenBy, derivative: Derivative) -> None:
    graphs, called = _graphs(ask, gives), _called(ask, metric, derivative)
    if not graphs:
        raise UsageError(f"the metric {metric.name} asks for {ask}, which no graph of this bundle gives")
    if not called & set(graphs):
        where = "on the way of the sampler" if metric.when != "measured" else "at a measured state"
        raise UsageError(f"the metric {metric.name} asks for {ask} {where}, where no call of a scan gives it")


def _graphs(ask: Ask, gives: GivenBy) -> Sequence[str]:
    """The graphs that give what is asked; of a guided step, all that belongs to no single condition."""
    if ask.quantity in _STATES:
        return (graph_names.STEP,)
    quantity: Quantity = "diagonal" if ask.quantity == "product" else ask.quantity
    return gives(quantity, "prompt" if ask.of in (None, "padded") else ask.of)


def _called(ask: Ask, metric: Metric, derivative: Derivative) -> set[str]:
    """The graphs that a scan calls where a metric asks, if their answer to this is taken."""
    measuring = graph_names.measure(derivative)
    if ask.of == "baseline":
        measuring = graph_names.of_baseline(measuring)
    if metric.when == "measured":
        of_step = {graph_names.STEP} if ask in _AT_MEASURED else set()
        return of_step | ({measuring} if _is_measured(ask) else set()) | _looking(ask)
    if metric.when == "first" and ask.quantity == "product" and ask.at == "state" and ask.along:
        return {measuring} if ask.of in ("prompt", "none") else set()
    if metric.when == "first" and ask.at == "late":
        return {graph_names.STEP} if ask._replace(at="state") in GUIDANCE_ASKS else set()
    earlier = _EARLIER if metric.when == "every" else ()
    return {graph_names.STEP} if ask in STEP_ASKS or (ask.at in earlier and _at_state(ask) in STEP_ASKS) else set()


def _is_measured(ask: Ask) -> bool:
    return ask.of is not None and ask.quantity in ("eps", "diagonal") and ask.at in ("state", "denoised")


def _looking(ask: Ask) -> set[str]:
    """The graph that is called for what it shows of the denoiser, or differentiates it by its text."""
    if ask.at == "state" and ask.of in ("prompt", "none") and ask.quantity in OBSERVED:
        return {graph_names.OBSERVE}
    return {graph_names.CONDITION} if ask == Ask("condition_product", "prompt") else set()


def _at_state(ask: Ask) -> Ask:
    """An ask of an earlier step as that step is asked; any other as it is."""
    return ask._replace(at="state") if ask.at in _EARLIER else ask


def _conditions(asks: Iterable[Ask], quantities: tuple[str, ...], at: str) -> tuple[Condition, ...]:
    found = {ask.of for ask in asks if ask.quantity in quantities and ask.at == at}
    conditions: tuple[Condition, ...] = ("prompt", "none", "baseline", "padded")
    return tuple(condition for condition in conditions if condition in found)


def _asks(metrics: Iterable[Metric], when: str) -> frozenset[Ask]:
    asks = (_at_state(ask) for metric in metrics if metric.when == when for ask in metric.asks)
    return frozenset(ask for ask in asks if ask in STEP_ASKS)
