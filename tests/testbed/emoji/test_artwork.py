"""Names are words that are their emoji's alone, and what has a twin is known."""

from pathlib import Path

import numpy as np
import pytest

from testbed.emoji.artwork import TWIN, Artwork, load, nearest, words
from testbed.emoji.fetch import ARTWORK, SIDE


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GRINNING FACE", "grinning face"),
        ("Côte d'Ivoire Flag", "cote d ivoire flag"),
        ("YO-YO", "yo yo"),
        ("KEYCAP: *", "keycap"),
    ],
)
def test_names_become_words_of_letters(name: str, expected: str) -> None:
    assert words(name) == expected


def test_a_name_must_be_short_and_its_own_and_hold_no_digits(tmp_path: Path) -> None:
    said = ["SUN", "KEYCAP 1", "KEYCAP: *", "KEYCAP: #", "Peru Flag", "TONE", "A B C D E F", "A B C D E"]
    categories = ["Travel"] * 4 + ["Flags", "Component", "Symbols", "Symbols"]
    rgba = np.arange(len(said), dtype=np.uint8)[:, None, None, None] * np.ones((1, SIDE, SIDE, 4), np.uint8)
    np.savez(tmp_path / ARTWORK, name=said, category=categories, rgba=rgba)
    found = load(tmp_path)
    assert found.names == ("sun", "a b c d e")
    assert found.rgba[:, 0, 0, 0].tolist() == [0, 7]


def test_twins_are_told_from_the_rest(artwork: Artwork) -> None:
    found = nearest(artwork.rgba)
    np.testing.assert_allclose(found[-2:], 0, atol=1e-3)  # float32 sums of squares cancel
    assert found[:-2].min() > TWIN
    assert artwork.single.tolist() == list(range(len(artwork.names) - 2))


def test_likeness_is_within_the_outline_alone_and_one_sided() -> None:
    rgba = np.zeros((2, SIDE, SIDE, 4), np.uint8)
    rgba[0, :, : SIDE // 2] = (255, 0, 0, 255)  # a half of the second
    rgba[1] = (0, 0, 255, 255)
    rgba[1, :, : SIDE // 2] = (255, 0, 0, 255)
    found = nearest(rgba)
    assert found[0] < 0.02  # the edge is resampled
    assert found[1] > 0.2
