"""Text of any script, of any length: drawn where a font has it, else written as code points, never lost."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from memscan.scanner.sheet import fonts
from memscan.scanner.sheet.fonts import OWN, faces, font, runs
from memscan.scanner.sheet.typography import length, printable, wrapped, write

CACHES = (fonts.faces, fonts.face_of, fonts._has, fonts._drawn_for_nothing)


@pytest.fixture(autouse=True)
def no_other_fonts(monkeypatch: Any, tmp_path: Path) -> Iterator[Path]:
    """The folder in which fonts are looked for: empty, whatever this system has."""
    monkeypatch.setattr(fonts, "_FOLDERS", (str(tmp_path),))
    for cached in CACHES:
        cached.cache_clear()
    yield tmp_path
    for cached in CACHES:
        cached.cache_clear()


def install(folder: Path, name: str) -> Path:
    """Pillow's own font as a file, in a folder of the folder."""
    file = folder / "truetype" / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(ImageFont.load_default(16).font_bytes)
    return file


def test_text_is_broken_into_lines_that_fit() -> None:
    text = "an unreasonablylongwordthatfitsnowhereatall in a prompt that goes on and on and on and on"
    lines = wrapped(text, 14, 120, 3)
    assert len(lines) == 3
    assert all(length(line, 14) <= 120 for line in lines)
    assert lines[-1].endswith("...")
    assert "".join(lines[:2]).replace(" ", "").startswith("anunreasonablylongword")
    assert wrapped("short", 14, 120, 3) == ["short"]


@pytest.mark.parametrize("unit", ["x", "word ", "\u732b", "e\u0301", " "])
def test_of_an_endless_text_no_more_is_looked_at_than_fits(monkeypatch: Any, unit: str) -> None:
    text = unit * (20_000_000 // len(unit))
    drawn: list[int] = []
    monkeypatch.setattr("memscan.scanner.sheet.typography.printable", lambda part: drawn.append(len(part)) or "x")
    assert wrapped(text, 14, 170, 5)[-1].endswith("...")
    assert drawn == [5 * 170]


def test_what_no_font_has_is_its_code_point() -> None:
    assert printable("Caf\u00e9\n \u00fcber \u8336 tea") == r"Caf\u{e9} \u{fc}ber \u{8336} tea"
    assert printable("\U0001f98a\ufe0f!") == r"\u{1f98a}!"


@pytest.mark.parametrize("character", ["\u202e", "\x1b", "\x00", "\u200b", "\ue000", "\ud800", "\u200d"])
def test_what_is_not_seen_is_its_code_point(character: str) -> None:
    assert printable(f"a{character}b") == f"a\\u{{{ord(character):x}}}b"


def test_a_code_point_is_not_broken() -> None:
    lines = wrapped("\u732b" * 9, 14, 120, 9)
    assert len(lines) > 1
    assert "".join(lines) == r"\u{732b}" * 9
    assert all(line.startswith("\\") and line.endswith("}") for line in lines)


def test_a_decomposed_letter_is_composed_and_marks_stay_with_their_letter(monkeypatch: Any) -> None:
    assert printable("e\u0301") == r"\u{e9}"
    monkeypatch.setattr("memscan.scanner.sheet.typography.face_of", lambda character: OWN)
    monkeypatch.setattr("memscan.scanner.sheet.typography.length", lambda text, size: 10.0 * len(text))
    assert wrapped("q\u0303" * 4, 14, 40, 9) == ["q\u0303q\u0303"] * 2


def test_fonts_of_the_system_are_found_best_first_and_other_faces_are_not(no_other_fonts: Path) -> None:
    wanted = [install(no_other_fonts, name) for name in ("DejaVuSans.ttf", "NotoSansArabic-Regular.ttf")]
    for name in ("NotoSans-Bold.ttf", "DejaVuSans-Oblique.ttf", "Comic.ttf", "NotoSans-Regular.pfb"):
        install(no_other_fonts, name)
    assert faces() == (OWN, *map(str, wanted))


def test_a_file_that_is_no_font_is_passed_over(no_other_fonts: Path) -> None:
    install(no_other_fonts, "DejaVuSans.ttf").write_bytes(b"no font")
    assert printable("\u8336") == r"\u{8336}"


def test_a_line_is_drawn_in_one_font_where_one_has_all_of_it(monkeypatch: Any) -> None:
    has = {OWN: "abc ", "arabic": "\u0645 ab", "emoji": "\U0001f98a"}
    monkeypatch.setattr(fonts, "faces", lambda: tuple(has))
    monkeypatch.setattr(fonts, "_has", lambda face, character: character in has[face])
    assert runs("ab c") == [(OWN, "ab c")]
    assert runs("ab \u0645") == [("arabic", "ab \u0645")]
    assert runs("c\u0645 \U0001f98a\u200d") == [
        (OWN, "c"),
        ("arabic", "\u0645 "),
        ("emoji", "\U0001f98a\u200d"),
    ]


def test_parts_in_different_fonts_stand_side_by_side_on_one_line(monkeypatch: Any, no_other_fonts: Path) -> None:
    other = str(install(no_other_fonts, "DejaVuSans.ttf"))

    def drawn(*parts: tuple[str, str]) -> Any:
        monkeypatch.setattr("memscan.scanner.sheet.typography.runs", lambda text: list(parts))
        sheet = Image.new("RGB", (120, 30), "white")
        write(ImageDraw.Draw(sheet), (4, 4), "as in parts", 16)
        return np.asarray(sheet).min(axis=2) < 128

    border = 4 + int(font(16).getlength("HI"))
    alone, both = drawn((OWN, "HI")), drawn((OWN, "HI"), (other, "HI"))
    assert (both[:, :border] == alone[:, :border]).all()
    assert alone[:, border:].sum() == 0
    tops_and_feet = [np.flatnonzero(half.any(axis=1))[[0, -1]].tolist() for half in np.split(both, [border], axis=1)]
    assert tops_and_feet[0] == tops_and_feet[1]


def test_anchors_are_ends_and_middle() -> None:
    def inked(anchor: str) -> tuple[int, int]:
        sheet = Image.new("RGB", (200, 30), "white")
        write(ImageDraw.Draw(sheet), (100, 4), "HHHH", 16, anchor=anchor)
        columns = np.flatnonzero((np.asarray(sheet) < 255).any(axis=(0, 2)))
        return int(columns[0]), int(columns[-1])

    width = length("HHHH", 16)
    assert inked("l")[0] == pytest.approx(100, abs=3)
    assert inked("r")[1] == pytest.approx(100, abs=3)
    assert sum(inked("m")) / 2 == pytest.approx(100, abs=2)
    assert inked("l")[1] - inked("l")[0] == pytest.approx(width, abs=5)
