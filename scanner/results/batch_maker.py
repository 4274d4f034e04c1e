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
from memscan.scanner.results.p_values import CleanScores
from memscan.scanner.results.rle import encode
from memscan.scanner.results.schema import COLUMNS, SCORE_COLUMNS, SHARE
from memscan.scanner.results.tally import SCREENED
from memscan.scanner.samples import GIVEN, SAMPLED, MeasuredStep, Rejected, Sample, Scanned, Screened, StepMaps

_SOURCES = {True: GIVEN, False: SAMPLED, None: None}
"""What is known of the image of a rejected row."""


class BatchMaker:
    """Makes record batches of result rows, column by column.

    Args:
        schema: of the run's result files.
        mask_map: the map that masks are made of.
        score_name: the column that the score is.
        steps: the measured ones, ascending.
        clean: by the index of a step, the scores that p-values are ranks among.
        constants: columns that are the same in every row of the run, by name; `scanned_at` is when a batch is made.
    """

    def __init__(
        self,
        schema: pa.Schema,
        model_id: str,
        mask_map: str,
        score_name: str,
        steps: tuple[MeasuredStep, ...],
        clean: Mapping[int, CleanScores] = MappingProxyType({}),
        constants: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._schema = schema
        self._constants = {"model_id": model_id, **constants}
        self._mask_map = mask_map
        self._score_name = score_name
        self._steps = steps
        self._clean = clean

    def scanned(self, scanned: Scanned) -> list[pa.RecordBatch]:
        """One batch for each step, with a row for each image."""
        common = self._common(scanned.samples) | {"truncated": scanned.truncated, "image_source": scanned.sources}
        common |= _screen_scores(scanned.samples)
        return [
            self._batch(step, common | self._scored(step, measured, scanned.sources))
            for step, measured in zip(self._steps, scanned.steps, strict=True)
        ]

    def screened(self, screened: Screened) -> list[pa.RecordBatch]:
        """One batch for each step, with a row for each image that was not scanned; none where there is no image."""
        count = len(screened.samples)
        if not count:
            return []
        common = self._common(screened.samples) | _screen_scores(screened.samples)
        common |= {"truncated": screened.truncated, "image_source": [SAMPLED] * count, "status": [SCREENED] * count}
        return [self._batch(step, common) for step in self._steps]

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

    def _scored(self, step: MeasuredStep, measured: StepMaps, sources: Sequence[str]) -> dict[str, Any]:
        columns = self._measured(measured, step)
        clean = self._clean.get(step.index)
        if clean is None:
            return columns
        score = columns["score"]
        unknown = score.is_null().to_numpy(zero_copy_only=False) | (np.array(sources) != SAMPLED)
        p_values = clean.p_values(score.fill_null(0.0).to_numpy())
        return columns | {"p_value": pa.array(p_values, pa.float64(), mask=unknown)}

    def _measured(self, measured: StepMaps, step: MeasuredStep) -> dict[str, Any]:
        failed = np.array([error is not None for error in measured.errors])
        columns: dict[str, Any] = {}
        for name, maps in measured.maps.items():
            lacking = failed | ~measured.has(name)
            for summary, values in _summaries(maps, step.thresholds.get(name)).items():
                columns[f"{name}_{summary}"] = _floats(values, lacking)
        for name, scores in measured.scores.items():
            columns[name] = _floats(scores.values, failed | ~scores.exist)
        found = {}
        if step.threshold is not None:
            lacking = failed | ~measured.has(self._mask_map)
            found = _masks(mask_of(measured.maps[self._mask_map], step.threshold), lacking)
        return {
            "status": np.where(failed, "error", "ok"),
            "error": measured.errors,
            **columns,
            "score": self._score(columns, len(failed)),
            **found,
        }

    def _score(self, columns: Mapping[str, pa.Array], count: int) -> pa.Array:
        chosen = columns.get(self._score_name, pa.nulls(count, pa.float32()))
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


def _screen_scores(samples: Sequence[Sample]) -> dict[str, Any]:
    return {"screen_score": [sample.screen_score for sample in samples]}


def _floats(values: NDArray[np.floating[Any]], lacking: NDArray[np.bool_]) -> pa.Array:
    return pa.array(values.astype(np.float32, copy=False), mask=lacking)  # numpy casts in a fifth of Arrow's time


def _summaries(maps: NDArray[np.float32], threshold: float | None) -> dict[str, NDArray[np.floating[Any]]]:
    found = summarize(maps)._asdict()
    return found if threshold is None else found | {SHARE: shares(mask_of(maps, threshold))}


def _masks(masks: NDArray[np.bool_], lacking: NDArray[np.bool_]) -> dict[str, pa.Array]:
    height, width = masks.shape[1:]
    return {
        "mask": pa.array(encode(masks), pa.binary(), mask=lacking),
        "mask_height": pa.array(np.full(len(masks), height), pa.int32(), mask=lacking),
        "mask_width": pa.array(np.full(len(masks), width), pa.int32(), mask=lacking),
        "mask_share": pa.array(shares(masks), pa.float32(), mask=lacking),
    }
