"""The results table: its schema, and how scanned and rejected samples become rows of it.

One row for each (row, seed, step_index), always; `status` is "ok" or "error". Maps are summarised in the collapse unit
(see the README); a map is null where the bundle has no baseline, everything measured is null in error rows.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from memscan.scanner.errors import UsageError
from memscan.scanner.masks import encode_masks, summarize
from memscan.scanner.metrics.catalogue import MAPS
from memscan.scanner.samples import MeasuredStep, Rejected, Sample, Scanned, StepMaps

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


class BatchMaker:
    """Makes record batches of result rows, column by column.

    Args:
        schema: of the run's result files.
        mask_map: the map that masks are made of.
        steps: the measured ones, ascending.
    """

    def __init__(self, schema: pa.Schema, model_id: str, mask_map: str, steps: tuple[MeasuredStep, ...]) -> None:
        self._schema = schema
        self._model_id = model_id
        self._mask_map = mask_map
        self._steps = steps

    def scanned(self, scanned: Scanned) -> list[pa.RecordBatch]:
        """One batch for each step, with a row for each image."""
        common = self._common(scanned.samples) | {"truncated": pa.array(scanned.truncated)}
        return [
            self._batch(step, common | self._measured(measured, step.threshold))
            for step, measured in zip(self._steps, scanned.steps, strict=True)
        ]

    def rejected(self, rejected: Sequence[Rejected]) -> list[pa.RecordBatch]:
        """One batch for each step, with an error row for each image."""
        failed = {"status": ["error"] * len(rejected), "error": [item.error for item in rejected]}
        common = self._common(rejected) | failed
        return [self._batch(step, common) for step in self._steps]

    def _common(self, items: Sequence[Sample | Rejected]) -> dict[str, Any]:
        names = ("row", "seed", "id", "prompt")
        own = {name: [getattr(item, name) for item in items] for name in names}
        carried = self._schema.names[len(COLUMNS) :]
        return own | {name: [item.carried.get(name) for item in items] for name in carried}

    def _measured(self, measured: StepMaps, threshold: float) -> dict[str, Any]:
        failed = np.array([error is not None for error in measured.errors])
        mask_map = measured.maps[self._mask_map]
        mask = mask_map >= threshold
        summaries = summarize(np.stack(list(measured.maps.values())))
        columns = {
            f"{name}_{summary}": pa.array(values, pa.float32(), mask=failed)
            for summary, of_maps in summaries._asdict().items()
            for name, values in zip(measured.maps, of_maps, strict=True)
        }
        height, width = mask.shape[1:]
        return {
            "status": np.where(failed, "error", "ok"),
            "error": measured.errors,
            **columns,
            "score": columns[f"{self._mask_map}_mean"],
            "mask": pa.array(encode_masks(mask), pa.binary(), mask=failed),
            "mask_height": pa.array(np.full(len(mask), height), pa.int32(), mask=failed),
            "mask_width": pa.array(np.full(len(mask), width), pa.int32(), mask=failed),
            "mask_share": pa.array(mask.mean(axis=(1, 2)), pa.float32(), mask=failed),
        }

    def _batch(self, step: MeasuredStep, columns: Mapping[str, Any]) -> pa.RecordBatch:
        count = len(columns["row"])
        same = {
            "step_index": step.index,
            "timestep": step.timestep,
            "sigma": step.sigma,
            "model_id": self._model_id,
            "calibrated": step.calibrated,
            "threshold": step.threshold,
        }
        arrays = []
        for field in self._schema:
            if field.name in same:
                arrays.append(pa.repeat(pa.scalar(same[field.name], field.type), count))
            elif field.name in columns:
                arrays.append(pa.array(columns[field.name], field.type))
            else:
                arrays.append(pa.nulls(count, field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


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
