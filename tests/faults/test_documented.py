"""Each promise of docs/reliability.md names tests that are there."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text()


def test_every_promise_has_a_test_that_is_there() -> None:
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| ") and "::" in line]
    assert len(rows) == sum(line.startswith("| ") for line in PAGE.splitlines()) - 1  # all but the heading
    for _, _, tests in rows:
        file = ""
        for named, test in re.findall(r"`([\w/.]*)::(\w+)`", tests):
            file = named or file
            assert re.search(rf"^def {test}\(", (TESTS / file).read_text(), re.M), f"{file}::{test}"
