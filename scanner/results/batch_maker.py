"""From scanned and rejected samples to record batches of the results table, column by column."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from memscan.scanner.results.masks import mask_of, shares, summarize
from memscan.scanner.results.rle import encode
from memscan.scanner.results.schema import COLUMNS, SCORE_COLUMNS
from memscan.scanner.samples import GIVEN, SAMPLED, MeasuredStep, Rejected, Sample, Scanned, StepMaps

_SOURCES = {True: GIVEN, False: SAMPLED, None: None}
"""What is known of the image of a rejected row."""


class BatchMaker:
    """Makes record batches of result rows, column by column.

    Args:
        schema: of the run's result files.
        mask_map: the map that masks are made of.
        score_name: the column that the score is.
        steps: the measured ones, ascending.
        constants: columns that are the same in every row of the run, by name; `scanned_at` is when a batch is made.
    """

    def __init__(
        self,
        schema: pa.Schema,
        model_id: str,
        mask_map: str,
        score_name: str,
        steps: tuple[MeasuredStep, ...],
        constants: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._schema = schema
        self._constants = {"model_id": model_id, **constants}
        self._mask_map = mask_map
        self._score_name = score_name
        self._steps = steps

    def scanned(self, scanned: Scanned) -> list[pa.RecordBatch]:
        """One batch for each step, with a row for each image."""
        common = self._common(scanned.samples) | {"truncated": scanned.truncated, "image_source": scanned.sources}
        return [
            self._batch(step, common | self._measured(measured, step.threshold))
            for step, measured in zip(self._steps, scanned.steps, strict=True)
        ]

    def rejected(self, rejected: Sequence[Rejected]) -> list[pa.RecordBatch]:
        """One batch for each step, with an error row for each image; none where there is no image."""
        if not rejected:
            return []
        failed = {"status": ["error"] * len(rejected), "error": [item.error for item in rejected]}
        sources = {"image_source": [_SOURCES[item.image_given] for item in rejected]}
        common = self._common(rejected) | failed | sources
        return [self._batch(step, common) for step in self._steps]

    def _common(self, items: Sequence[Sample | Rejected]) -> dict[str, Any]:
        names = ("row", "seed", "id", "prompt")
        own = {name: [getattr(item, name) for item in items] for name in names}
        carried = self._schema.names[len(COLUMNS) :]
        now = {"scanned_at": [datetime.now(UTC)] * len(items)}
        return own | now | {name: [item.carried.get(name) for item in items] for name in carried}

    def _measured(self, measured: StepMaps, threshold: float | None) -> dict[str, Any]:
        failed = np.array([error is not None for error in measured.errors])
        summaries = summarize(np.stack(list(measured.maps.values())))
        columns = {
            f"{name}_{summary}": pa.array(values, pa.float32(), mask=failed)
            for summary, of_maps in summaries._asdict().items()
            for name, values in zip(measured.maps, of_maps, strict=True)
        } | {
            name: pa.array(scores.values, pa.float32(), mask=failed | ~scores.exist)
            for name, scores in measured.scores.items()
        }
        found = {} if threshold is None else _masks(mask_of(measured.maps[self._mask_map], threshold), failed)
        return {
            "status": np.where(failed, "error", "ok"),
            "error": measured.errors,
            **columns,
            "score": self._score(columns),
            **found,
        }

    def _score(self, columns: Mapping[str, pa.Array]) -> pa.Array:
        chosen = columns[self._score_name]
        return chosen if SCORE_COLUMNS[self._score_name].sign > 0 else pc.negate(chosen)

    def _batch(self, step: MeasuredStep, columns: Mapping[str, Any]) -> pa.RecordBatch:
        count = len(columns["row"])
        same = {
            "step_index": step.index,
            "timestep": step.timestep,
            "sigma": step.sigma,
            **self._constants,
            "calibrated": step.calibrated,
            "threshold": step.threshold,
            "derivative": step.derivative,
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


def _masks(masks: NDArray[np.bool_], failed: NDArray[np.bool_]) -> dict[str, pa.Array]:
    height, width = masks.shape[1:]
    return {
        "mask": pa.array(encode(masks), pa.binary(), mask=failed),
        "mask_height": pa.array(np.full(len(masks), height), pa.int32(), mask=failed),
        "mask_width": pa.array(np.full(len(masks), width), pa.int32(), mask=failed),
        "mask_share": pa.array(shares(masks), pa.float32(), mask=failed),
    }
