"""What memscan says beside its results: lines of the logger "memscan", which nobody hears unless somebody listens.

The command line listens (process/log.py); who uses memscan as a library configures `logging` as ever.
"""

import logging
from collections.abc import Callable

LOGGER = logging.getLogger("memscan")
LOGGER.addHandler(logging.NullHandler())  # else Python prints warnings that nobody listens for

Note = Callable[[str], None]
"""Is given a line that the user should read."""


def note(text: str) -> None:
    """Log a line at level INFO."""
    LOGGER.info("%s", text)


def warn(text: str) -> None:
    """Log a line at level WARNING: it needs attention."""
    LOGGER.warning("%s", text)


def bars_are_welcome() -> bool:
    """Whether bars may be drawn among the notes: not where they are objects for a machine."""
    return somebody_listens() and not any(getattr(handler, "lines_only", False) for handler in LOGGER.handlers)


def somebody_listens() -> bool:
    """Whether notes are heard: only then may progress be shown."""
    return LOGGER.isEnabledFor(logging.INFO)
