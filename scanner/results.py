"""The results table: its schema, and how a scanned or rejected sample becomes rows of it.

One row for each (row, seed, step_index), always; `status` is "ok" or "error". Maps are summarised in the collapse unit
(see the README); a map is null where the bundle has no baseline, everything measured is null in error rows.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from memscan.scanner.errors import UsageError
from memscan.scanner.masks import encode_mask, summarize
from memscan.scanner.samples import Rejected, Scanned
from memscan.scanner.settings import MAPS

SCHEMA_VERSION = 1

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
        ("truncated", pa.bool_()),  # the prompt was longer than the text encoder
        ("status", pa.string()),
        ("error", pa.string()),
        *((f"{name}_{summary}", pa.float32()) for name in MAPS for summary in ("mean", "max", "q99")),
        ("score", pa.float32()),  # mean of the map that the mask is made of
        ("mask", pa.binary()),  # COCO RLE, of latent resolution
        ("mask_height", pa.int32()),
        ("mask_width", pa.int32()),
        ("mask_share", pa.float32()),  # of the pixels
        ("threshold", pa.float32()),
    ]
)
"""Columns of version 1; those carried from the manifest follow."""


@dataclasses.dataclass(frozen=True)
class MeasuredStep:
    """What the rows of one measured step have in common."""

    index: int
    timestep: int
    sigma: float
    threshold: float
    calibrated: bool


@dataclasses.dataclass(frozen=True)
class RowMaker:
    """Makes result rows for a run: `model_id`, the map that masks are made of, and its steps in ascending order."""

    model_id: str
    mask_map: str
    steps: tuple[MeasuredStep, ...]

    def rows(self, item: Scanned | Rejected) -> list[dict[str, Any]]:
        """One row for each step, as values by column name; columns left out are null."""
        if isinstance(item, Rejected):
            return [self._common(item, step) | {"status": "error", "error": item.error} for step in self.steps]
        rows = []
        for step, measured in zip(self.steps, item.steps, strict=True):
            row = self._common(item.sample, step) | {"truncated": item.truncated}
            if measured.error is None:
                row |= {"status": "ok"} | self._measured(measured.maps, step.threshold)
            else:
                row |= {"status": "error", "error": measured.error}
            rows.append(row)
        return rows

    def _common(self, source: Any, step: MeasuredStep) -> dict[str, Any]:
        return {
            "row": source.row,
            "seed": source.seed,
            "step_index": step.index,
            "id": source.id,
            "prompt": source.prompt,
            "timestep": step.timestep,
            "sigma": step.sigma,
            "model_id": self.model_id,
            "calibrated": step.calibrated,
            "threshold": step.threshold,
            **source.carried,
        }

    def _measured(self, maps: Mapping[str, Any], threshold: float) -> dict[str, Any]:
        summaries = {name: summarize(values) for name, values in maps.items()}
        mask = maps[self.mask_map] >= threshold
        return {
            **{
                f"{name}_{summary}": value
                for name, values in summaries.items()
                for summary, value in zip(("mean", "max", "q99"), values, strict=True)
            },
            "score": summaries[self.mask_map][0],
            "mask": encode_mask(mask),
            "mask_height": mask.shape[0],
            "mask_width": mask.shape[1],
            "mask_share": float(mask.mean()),
        }


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
        if pa.types.is_temporal(field.type):
            return None
        name = {"float": "float32", "double": "float64", "halffloat": "float16"}.get(str(field.type), str(field.type))
        features[field.name] = {"dtype": name, "_type": "Value"}
    return features
