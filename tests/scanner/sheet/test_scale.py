"""The sheet's scale and its colours: absolute, clipped, and without a sign at zero."""

import numpy as np
import pytest

from memscan.scanner.metrics.catalogue import MAPS
from memscan.scanner.sheet.colormap import colours
from memscan.scanner.sheet.panels import heat_map
from memscan.scanner.sheet.scale import number, percentage, share, ticks


def test_colours_rise_in_lightness_and_clip() -> None:
    ramp = colours(np.linspace(0, 1, 201)).astype(np.float64)
    luminance = ((ramp / 255) ** 2.2) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(luminance) > 0).all()
    assert (np.asarray(heat_map(np.array([[-1.0, 5.0]]), "dh_uncond"))[0, [0, -1]] == ramp[[0, -1]]).all()
    halves = np.repeat([1.0, 0.0], 8)[:, None] * np.ones(16)
    assert (np.asarray(heat_map(halves, "h_cond"))[[0, -1], 0] == ramp[[-1, 0]]).all()


def test_the_scale_is_the_collapse_unit() -> None:
    for name in MAPS:
        middle = 0.5 if name.startswith("ds_") else 0.25  # squares are shown by their root
        assert share([-0.5, 0.0, 0.25, 1.0, 1.5], name).tolist() == [0.0, 0.0, middle, 1.0, 1.0]
        assert share(ticks(name), name).tolist() == [0.0, 0.5, 1.0]
    assert share(0.04, "ds_base") == pytest.approx(0.2)  # a threshold there is seen


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (-0.0002, "0.000"),
        (-0.0006, "-0.001"),
        (0.15722, "0.157"),
        (-12.3456, "-12.346"),
        (-16384.25, "-16384"),
        (1.5e9, "1.5e+09"),
    ],
)
def test_what_rounds_to_zero_has_no_sign(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("covered", "text"),
    [(0.0, "0%"), (0.004, "<1%"), (0.006, "1%"), (0.49, "49%"), (0.996, ">99%"), (1.0, "100%")],
)
def test_nothing_and_everything_are_never_almost(covered: float, text: str) -> None:
    assert percentage(covered) == text
