"""The scan: from a bundle and a manifest of prompts to scores and masks in Parquet. No torch.

    from memscan.scanner import open_bundle, open_results, scan

Shape legend of the package: K tangents, N batch, C channels, h w latent height and width, H W image height and width.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memscan.scanner.api import scan as scan
    from memscan.scanner.bundle import open_bundle as open_bundle
    from memscan.scanner.results.reader import open_results as open_results

    __version__: str

__all__ = ["__version__", "open_bundle", "open_results", "scan"]

_HOMES = {
    "open_bundle": "memscan.scanner.bundle",
    "open_results": "memscan.scanner.results.reader",
    "scan": "memscan.scanner.api",
}
"""Public functions, and the modules that are imported when they are first asked for."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("memscan")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
