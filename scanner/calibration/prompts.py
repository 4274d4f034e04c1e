"""The prompts that stand for what is not memorized, where the user has none: everyday scenes of our own writing.

No brand, no name, no title, no caption that any model is known to reproduce. The prompts that a model is truly used
with are better: scores depend on what is asked for.
"""

from pathlib import Path

_FILE = Path(__file__).parent / "everyday_prompts.txt"


def everyday_prompts() -> tuple[str, ...]:
    """The built-in prompts."""
    return tuple(_FILE.read_text("utf-8").splitlines())
