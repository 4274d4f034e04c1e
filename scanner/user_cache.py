"""The user's cache: what can be made or fetched again."""

import os
from pathlib import Path


def user_cache(kind: str) -> Path:
    """$XDG_CACHE_HOME/memscan/KIND; ~/.cache stands in for a variable that is not set, or is no absolute path."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "memscan" / kind
