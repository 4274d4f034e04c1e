"""Products at the path's first state: the whole J v of a dense Jacobian, from a graph that gives v * (J v) alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from memscan.scanner.bundle import open_bundle
from memscan.scanner.metrics.metric import Ask
from memscan.scanner.metrics.plan import Calls
from memscan.scanner.sampling.schedule import Level
from memscan.scanner.scanning.first_state import FirstState
from tests.scanner.scanning.closed_form import SETTINGS

SHAPE = (2, 4, 3, 5)
ALONG_GUIDANCE, ALONG_OWN = Ask("product", "prompt", along="guidance"), Ask("product", "none", along="own")


class LinearGraphs:
    """v * (J v) summed over tangents, as a measuring graph gives it, with a dense J for each text; nothing is moved."""

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        self.jacobians = {text: draw.normal(size=(60, 60)).astype(np.float32) / 8 for text in ("prompt", "none")}
        self.tangents: list[NDArray[np.float32]] = []

    def upload(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def download(self, value: NDArray[Any]) -> NDArray[Any]:
        return value

    def measure(self, x: Any, level: Level, text: dict[str, str], tangents: NDArray[np.float32], **_: Any) -> Any:
        self.tangents.append(tangents)
        flat = tangents.reshape(*tangents.shape[:2], -1)
        return x, (flat * (flat @ self.jacobians[text["text"]].T)).sum(axis=0).reshape(tangents.shape[1:])


@pytest.fixture
def graphs() -> LinearGraphs:
    return LinearGraphs()


def products(analytic: Path, graphs: LinearGraphs, eps: NDArray[np.float32], uncond: NDArray[np.float32]) -> Any:
    calls = Calls((), (), (), False, (ALONG_GUIDANCE, ALONG_OWN), frozenset(), frozenset(), frozenset())
    first: Any = FirstState(open_bundle(analytic), graphs, SETTINGS, calls, Level(901, 0.1, 0.99))  # type: ignore[arg-type]
    step = {Ask("eps", "prompt"): eps, Ask("eps", "none"): uncond}
    return first.answers(np.zeros(SHAPE, np.float32), {"text": "prompt"}, {"text": "none"}, step)


def expected(graphs: LinearGraphs, text: str, v: NDArray[np.float32]) -> NDArray[np.float64]:
    jacobian = graphs.jacobians[text].astype(np.float64)
    return (v.reshape(2, 60).astype(np.float64) @ jacobian.T).reshape(SHAPE)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_a_product_is_the_whole_of_it_whatever_the_size_of_its_direction(
    scale: float, analytic: Path, graphs: LinearGraphs
) -> None:
    eps, uncond = np.random.default_rng(1).normal(size=(2, *SHAPE)).astype(np.float32) * np.float32(scale)
    found = products(analytic, graphs, eps, uncond)
    # A coordinate is a float32 sum of 60 terms; a direction that is nearly 0 there does not enlarge its error.
    tolerance = {"rtol": 0, "atol": 2e-5 * scale}
    np.testing.assert_allclose(found[ALONG_GUIDANCE], expected(graphs, "prompt", eps - uncond), **tolerance)
    np.testing.assert_allclose(found[ALONG_OWN], expected(graphs, "none", uncond), **tolerance)
    for tangents in graphs.tangents:  # of a size that half precision holds, in a group filled up with zeros
        assert np.square(tangents[0]).mean() == pytest.approx(1.0, rel=1e-5)
        assert not tangents[1:].any()


def test_no_direction_is_no_product(analytic: Path, graphs: LinearGraphs) -> None:
    eps = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)
    found = products(analytic, graphs, eps, eps)
    assert not found[ALONG_GUIDANCE].any()
    assert np.isfinite(found[ALONG_OWN]).all()
