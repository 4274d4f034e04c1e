"""Webster's rule against a literal transcription, and its thresholds."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from memscan.scanner.evaluation.copies import COPY_RMSE, RETRIEVED_RMSE, for_comparison, masked_rmse

GENERATOR = np.random.default_rng(0)
SHAPE = (256, 256, 3)


def websters_squares(t: NDArray[np.float64], x: NDArray[np.float64], m: NDArray[np.float64]) -> float:
    """The published sum, term by term, with the mask repeated over the channels."""
    return float(((t * m - x * m) ** 2).sum() / m.mean())


def test_it_is_websters_sum_in_another_unit() -> None:
    t, x = GENERATOR.random((2, *SHAPE))
    mask = GENERATOR.random(SHAPE[:2]) < 0.3
    squares = websters_squares(t, x, np.repeat(mask[:, :, None], 3, axis=2).astype(float))
    assert masked_rmse(x, t, mask) == pytest.approx(np.sqrt(squares / np.prod(SHAPE)), rel=1e-12)
    assert masked_rmse(x, t) == pytest.approx(np.sqrt(((t - x) ** 2).mean()), rel=1e-12)


@pytest.mark.parametrize(("threshold", "squares"), [(COPY_RMSE, 2500), (RETRIEVED_RMSE, 3000)])
def test_a_threshold_is_reached_where_the_published_sum_reaches_it(threshold: float, squares: float) -> None:
    """A difference of the threshold at every pixel of a half mask makes the published sum exactly its bound."""
    t, m = np.zeros(SHAPE), np.zeros(SHAPE)
    m[:128] = 1
    assert websters_squares(t, t + threshold, m) == pytest.approx(squares, rel=1e-12)
    assert masked_rmse(t + threshold, t, m[:, :, 0] > 0) == pytest.approx(threshold, rel=1e-12)


def test_what_lies_outside_of_the_mask_does_not_count() -> None:
    t = np.zeros((4, 4, 3), np.uint8)
    x = t.copy()
    x[2:] = 255
    upper = np.arange(16).reshape(4, 4) < 8
    assert masked_rmse(x, t, upper) == 0.0
    assert masked_rmse(x, t, ~upper) == 1.0
    assert masked_rmse(x, t) == pytest.approx(np.sqrt(0.5), rel=1e-12)


def test_bytes_are_not_subtracted_as_bytes() -> None:
    """0 - 255 would be 1 in uint8."""
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    assert masked_rmse(black, white) == masked_rmse(white, black) == 1.0


def test_many_pictures_at_once_are_each_compared() -> None:
    x, t = GENERATOR.random((5, 8, 8, 3)), GENERATOR.random((8, 8, 3))
    mask = GENERATOR.random((5, 8, 8)) < 0.5
    each = [float(masked_rmse(one, t, m)) for one, m in zip(x, mask, strict=True)]
    np.testing.assert_allclose(masked_rmse(x, t, mask), each, rtol=1e-12)


def test_what_cannot_be_compared_is_an_error() -> None:
    picture = np.zeros((4, 4, 3))
    with pytest.raises(ValueError, match="the mask is empty"):
        masked_rmse(picture, picture, np.zeros((4, 4), bool))
    with pytest.raises(ValueError, match=r"a mask of \(2, 2\) does not fit pictures of \(4, 4\)"):
        masked_rmse(picture, picture, np.ones((2, 2), bool))
    with pytest.raises(ValueError, match="cannot be compared"):
        masked_rmse(picture, np.zeros((4, 5, 3)))


def test_pictures_of_any_shape_are_compared_at_one_size() -> None:
    assert for_comparison(Image.new("RGB", (30, 100), "white")).tolist() == np.full(SHAPE, 255).tolist()
