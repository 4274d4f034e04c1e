"""The prompts of a manifest alone, each as good as a scan needs it."""

from memscan.scanner.errors import UsageError
from memscan.scanner.input.manifest import open_manifest
from memscan.scanner.input.rows import parse_row
from memscan.scanner.samples import Sample


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
