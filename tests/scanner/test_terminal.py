"""What others wrote cannot steer a terminal, break a line or fill a screen, and stays readable in any script."""

import pytest

from memscan.scanner.terminal import brief, listed, printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("over\rwritten \x08\x7f", r"over\rwritten \x08\x7f"),
        ("\u202egnp.exe \u2066x\u2069", r"\u202egnp.exe \u2066x\u2069"),
        ("line\u2028break\u2029", r"line\u2028break\u2029"),
        ("caf\udce9.parquet", r"caf\xe9.parquet"),
        ("half a pair \ud83d", r"half a pair \ud83d"),
        ("zero\u200bwidth \ufeff", r"zero\u200bwidth \ufeff"),
    ],
)
def test_what_steers_a_terminal_or_is_no_utf8_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == printable_lines(text) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize(
    "text", ["plain", "café 日本語 Ωμέγα", "मी\u200d \u200c", "👩\u200d👩\u200d👧", r"a \x1b that is spelled out"]
)
def test_scripts_and_emoji_stay_as_they_are(text: str) -> None:
    assert printable(text) == printable_lines(text) == text


def test_line_breaks_stay_in_lines_and_not_in_a_line() -> None:
    assert printable_lines("a\n\tb\x00") == "a\n\tb\\x00"
    assert printable("a\n\tb\x00") == r"a\n\tb\x00"


def test_long_text_and_long_lists_are_cut() -> None:
    assert brief("x" * 100) == "x" * 100
    assert brief("x" * 101) == "x" * 97 + "..."
    assert len(brief("\x1b" * 1000)) == 100
    assert listed(["a", "b"], 2) == "a, b"
    assert listed([], 0) == "none"
    assert listed((f"c{i}" for i in range(30_000)), 30_000, 3) == "c0, c1, c2 and 29997 more"
