"""How ground truth is read, where its file leaves a choice."""

import dataclasses
from pathlib import Path
from typing import Literal

Format = Literal["memscan", "webster", "nemo", "prompts", "coco"]
FORMATS: dict[Format, str] = {
    "memscan": "memscan's own: prompt or id, kind, mask",
    "webster": "Webster's: caption, overfit_type, gen_seeds",
    "nemo": "NeMo's: Caption, type",
    "prompts": "memorized prompts, one a line or in a column",
    "coco": "COCO JSON: images, annotations",
}
"""Names of the formats, and what is said of each."""

Pairs = Literal["union", "each"]
Seeds = Literal["listed", "any"]


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a file does not say of itself; None and the defaults where it does not matter.

    Args:
        format: else it is told by the columns.
        templates: the folder that holds `templates/metadata.parquet`, and perhaps `retrieved/metadata.parquet`; else
            that of the file, or the one above it.
        pairs: several templates of one image are one mask, their union, or each is scored by itself.
        seeds: a prompt is known to be memorized for the seeds that are listed, or for whatever seed.
        downloads: the folder of downloaded training pictures, `dl_000.jpg` for row 0; a black one is a failure.
        negatives: a file of prompts of which nothing is memorized.
    """

    format: Format | None = None
    templates: Path | None = None
    pairs: Pairs = "union"
    seeds: Seeds = "listed"
    downloads: Path | None = None
    negatives: Path | None = None
