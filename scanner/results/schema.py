"""The results table: its schema, and how scanned and rejected samples become rows of it.

One row for each (row, seed, step_index), always; `status` is "ok", "error", or "screened" of images that `--screen`
left out of the scan: whether they are memorized nobody knows. Maps are summarised in the collapse unit (see
docs/metrics.md). A metric is null that was not chosen or that the image does not have; everything measured is null
where the status is not "ok". Mask and threshold are null where there is no threshold: neither given nor calibrated.
`<map>_share` is the share of the pixels of a map that reach its own calibrated threshold, null where none is
calibrated. A p-value is there if the run has a calibration at exactly its settings.
"""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from memscan.scanner.errors import UsageError
from memscan.scanner.metrics.catalogue import MAPS, METRICS, SCORES
from memscan.scanner.metrics.metric import Metric
from memscan.scanner.results.masks import Summaries

SCHEMA_VERSION = 4
"""Rises whenever a column is added, removed or changes its meaning: a run is not resumed by another version."""

SHARE = "share"
SUMMARIES = (*Summaries._fields, SHARE)
"""What is kept of a map, each in a column `<map>_<summary>`."""
USUAL_SUMMARY = "q99"
"""The score unless another is wanted: a small copy raises it, a single cell does not."""

SCORE_COLUMNS: dict[str, Metric] = {
    **{f"{name}_{summary}": METRICS[name] for name in MAPS for summary in SUMMARIES},
    **{name: METRICS[name] for name in SCORES},
}
"""Columns that the score can be, in order, and the metric of each."""

COLUMNS = pa.schema(
    [
        ("row", pa.int64()),  # index in the whole manifest
        ("seed", pa.int64()),
        ("step_index", pa.int32()),
        ("id", pa.string()),
        ("prompt", pa.string()),
        ("timestep", pa.int32()),
        ("sigma", pa.float32()),
        ("model_id", pa.string()),
        ("calibrated", pa.bool_()),  # the bundle vouches for `threshold` at exactly these settings
        ("derivative", pa.string()),  # the kind that was measured by
        ("image_source", pa.string()),  # "sampled", or "given" and how it was fitted; null where nobody knows
        ("truncated", pa.bool_()),  # the prompt was longer than the text encoder
        ("status", pa.string()),
        ("error", pa.string()),
        *((name, pa.float32()) for name in SCORE_COLUMNS),
        ("score", pa.float32()),  # the chosen one of these, its sign turned if low values mean memorized
        (
            "screen_score",
            pa.float32(),
        ),  # what it was screened by, its sign turned alike; null without, or of given images
        ("p_value", pa.float64()),  # of `score` among the calibration's clean scores; null without, or of given images
        ("mask", pa.binary()),  # COCO RLE, of latent resolution
        ("mask_height", pa.int32()),
        ("mask_width", pa.int32()),
        ("mask_share", pa.float32()),  # of the pixels
        ("threshold", pa.float32()),
        ("run_id", pa.string()),  # the fingerprint: rows of one are comparable, those of several lie in one table
        ("model_digest", pa.string()),  # of the checkpoint
        ("guidance_scale", pa.float64()),
        ("sampler", pa.string()),
        ("num_inference_steps", pa.int32()),
        ("memscan_version", pa.string()),
        ("scanned_at", pa.timestamp("ms", "UTC")),  # when; the one column that is another each time
    ]
)
"""Columns of this version; those carried from the manifest follow."""


def result_schema(carried: Mapping[str, pa.DataType], metadata: Mapping[str, str]) -> pa.Schema:
    """The schema of a run's result files, with `metadata` under keys that begin with `memscan.`.

    Raises:
        UsageError: a carried column has the name of a result column.
    """
    for name in carried:
        if name in COLUMNS.names:
            raise UsageError(f"column {name!r} cannot be carried: the results have a column of that name; rename it")
    schema = pa.schema([*COLUMNS, *carried.items()])
    entries = {f"memscan.{key}": value for key, value in metadata.items()} | {
        "memscan.schema_version": str(SCHEMA_VERSION)
    }
    features = _huggingface_features(schema)
    if features is not None:
        entries["huggingface"] = json.dumps({"info": {"features": features}})
    return schema.with_metadata(entries)


def _huggingface_features(schema: pa.Schema) -> dict[str, Any] | None:
    """The types as Hugging Face `datasets` names them, or None if a carried column's type has no plain name there."""
    features = {}
    for field in schema:
        if not (pa.types.is_primitive(field.type) or pa.types.is_string(field.type) or pa.types.is_binary(field.type)):
            return None
        if pa.types.is_temporal(field.type) and not pa.types.is_timestamp(field.type):
            return None
        name = {"float": "float32", "double": "float64", "halffloat": "float16"}.get(str(field.type), str(field.type))
        features[field.name] = {"dtype": name, "_type": "Value"}
    return features
