"""The prompts that a certificate is measured on, where the user names none.

The first half are captions that Stable Diffusion 1.x is known to reproduce (Carlini et al., USENIX Security 2023;
Webster, 2023; Wen et al., ICLR 2024), for a difference of curvatures is large where something is memorized; the others
are everyday prompts. A model that never saw the captions draws them like any other prompt.
"""

from memscan.scanner.errors import UsageError
from memscan.scanner.input.manifest import open_manifest
from memscan.scanner.input.rows import parse_row
from memscan.scanner.samples import Sample

PROMPTS = (
    "Living in the Light with Ann Graham Lotz",
    "The No Limits Business Woman Podcast",
    "a bowl of oranges on a wooden table",
    "two children flying a kite on the beach",
)


def read_prompts(source: str) -> tuple[str, ...]:
    """The prompts of a manifest in any form that `memscan run` takes, e.g. a text file with one prompt a line.

    Raises:
        UsageError: it cannot be read, or a row of it cannot be scanned.
    """
    prompts: list[str] = []
    for index, raw in enumerate(open_manifest(source).rows(images=False)):
        for item in parse_row(index, raw, read_image=False).items[:1]:
            if not isinstance(item, Sample):
                raise UsageError(f"{source}, row {index}: {item.error}")
            prompts.append(item.prompt)
    if not prompts:
        raise UsageError(f"{source} has no prompts")
    return tuple(prompts)
