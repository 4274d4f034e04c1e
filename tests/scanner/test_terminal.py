"""What is printed cannot steer a terminal, and stays readable in any script."""

import pytest

from memscan.scanner.terminal import printable, printable_line


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
    assert printable(text) == printable_line(text) == shown


@pytest.mark.parametrize(
    "text", ["plain", "café 日本語 Ωμέγα", "मी\u200d \u200c", "👩\u200d👩\u200d👧", r"a \x1b that is spelled out"]
)
def test_scripts_and_emoji_stay_as_they_are(text: str) -> None:
    assert printable(text) == printable_line(text) == text


def test_line_breaks_stay_in_text_and_not_in_a_line() -> None:
    assert printable("a\n\tb\x00") == "a\n\tb\\x00"
    assert printable_line("a\n\tb\x00") == r"a\n\tb\x00"
