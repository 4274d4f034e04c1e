"""`memscan`, stopped at a named point: `python -m tests.scanner.run.stopped_run SIGNAL FUNCTION WORD N ARGUMENTS...`.

The process sends itself SIGNAL when FUNCTION is called for the N-th time with arguments whose text holds WORD, before
the function begins.
"""

import os
import pkgutil
import signal
import sys
from typing import Any

from memscan.scanner.cli import main


def arm(number: int, target: str, word: str, nth: int) -> None:
    """Replace the function `target` by one that stops the process at its `nth` call with `word`."""
    owner_name, _, name = target.rpartition(".")
    owner = pkgutil.resolve_name(owner_name)
    original = getattr(owner, name)
    calls = 0

    def stopping(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += word in str((args, kwargs))
        if calls == nth:
            calls += 1
            os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    setattr(owner, name, stopping)


if __name__ == "__main__":
    arm(signal.Signals[sys.argv[1]], sys.argv[2], sys.argv[3], int(sys.argv[4]))
    main(sys.argv[5:])
