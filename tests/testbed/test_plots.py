"""Figures are small files, or are refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from testbed import plots as figures

ROOT = Path(__file__).parents[2]


def test_a_figure_is_a_palette_png_below_the_limit(tmp_path: Path) -> None:
    figure, axes_of = figures.new_figure(4, 2, [["a", "b"]])
    axes_of["a"].plot([1, 2, 3])
    figures.show_map(axes_of["b"], np.eye(4), "eye")
    figures.save(figure, tmp_path / "sub" / "a.png")
    with Image.open(tmp_path / "sub" / "a.png") as image:
        assert image.mode == "P"
        assert image.width == pytest.approx(440, abs=1)
    assert (tmp_path / "sub" / "a.png").stat().st_size < figures.LIMIT


def test_a_figure_that_would_be_too_large_is_not_written(tmp_path: Path) -> None:
    figure, axes_of = figures.new_figure(9, 9, [["a"]])
    figures.show_map(axes_of["a"], np.random.default_rng(0).random((900, 900)))
    with pytest.raises(ValueError, match="bytes, at most 60000 are allowed"):
        figures.save(figure, tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("file", sorted((ROOT / figures.FIGURES).glob("*.png")), ids=lambda file: file.stem)
def test_committed_figures_are_small(file: Path) -> None:
    assert file.stat().st_size < figures.LIMIT
