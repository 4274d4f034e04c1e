"""The embedded testbed: a small model that truly memorizes, its manifest, and the ground truth of what it memorized.

bundle/               the exported model, used by `memscan run` when no --model is given
manifest.parquet      its prompts: id, prompt, seed, kind, split
ground_truth.parquet  masks and training images, in the format that `memscan eval` documents
"""

from pathlib import Path

ROOT = Path(__file__).parent
BUNDLE = ROOT / "bundle"
MANIFEST = ROOT / "manifest.parquet"
GROUND_TRUTH = ROOT / "ground_truth.parquet"

TOY = "TOY MODEL"
"""In the id of the embedded model, hence in every row of its results: they say nothing of anybody's model."""
