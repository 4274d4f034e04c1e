"""Random kills; more of them by `python -m tests.faults.soak --kills 200`."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_nothing_is_lost_to_kills_at_random_moments() -> None:
    """In a process of its own, which forks."""
    program = [sys.executable, "-m", "tests.faults.soak", "--kills", "8"]
    done = subprocess.run(program, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("lost: nothing\n")
