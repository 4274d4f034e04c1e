"""What others wrote cannot steer a terminal, break a line or fill a screen."""

import pytest

from memscan.scanner.terminal import brief, listed, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a mug", "a mug"),
        ("caf\u00e9 \u732b \U0001f431", "caf\u00e9 \u732b \U0001f431"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\nb\rc\u2028d", "a\\nb\\rc\\u2028d"),
        ("\u202egnp.exe", "\\u202egnp.exe"),  # would be read backwards
        ("caf\udce9", "caf\\udce9"),  # a file name that is not UTF-8, as Python holds it
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("C:\\x1b", "C:\\x1b"),
    ],
)
def test_what_steers_is_escaped_and_words_stay(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_long_text_and_long_lists_are_cut() -> None:
    assert brief("x" * 100) == "x" * 100
    assert brief("x" * 101) == "x" * 97 + "..."
    assert len(brief("\x1b" * 1000)) == 100
    assert listed(["a", "b"], 2) == "a, b"
    assert listed([], 0) == "none"
    assert listed((f"c{i}" for i in range(30_000)), 30_000, 3) == "c0, c1, c2 and 29997 more"
