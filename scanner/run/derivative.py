"""Which kind of derivative a run measures by, and what the bundle's certificate says of it."""

from collections.abc import Iterable

from memscan.scanner.bundle import Bundle
from memscan.scanner.errors import UsageError
from memscan.scanner.settings import Derivative


def choose_derivative(bundle: Bundle, asked: Derivative | None) -> Derivative:
    """The kind that was asked for, or else the bundle's default.

    Raises:
        UsageError: the bundle does not have it.
    """
    derivative = bundle.defaults.derivative if asked is None else asked
    if derivative not in bundle.passes:
        raise UsageError(f"--derivative {derivative}: {bundle.path} has {' and '.join(bundle.derivatives)} alone")
    return derivative


def describe(bundle: Bundle, derivative: Derivative, map: str, timesteps: Iterable[int]) -> str:
    """The derivative in words, and how well its `map` agrees with that of the exact one, as far as it is certified."""
    if derivative == "exact":
        return "exact"
    found = [] if bundle.certificate is None else [bundle.certificate.agreement(derivative, map, t) for t in timesteps]
    said = [
        f"{'undefined' if one.correlation is None else format(one.correlation, '.4f')} at timestep {one.timestep}"
        for one in found
        if one is not None
    ]
    if not said:
        return f"{derivative}, of which the bundle certifies nothing for {map} here"
    return f"{derivative}, certified correlation of its {map} to the exact one: {', '.join(said)}"
