"""The results table: what a row says, and that readers other than memscan understand it."""

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco

from memscan.scanner.errors import UsageError
from memscan.scanner.metrics.catalogue import MAPS, SCORES
from memscan.scanner.results.batch_maker import BatchMaker
from memscan.scanner.results.maps_table import MAPS_SCHEMA, MapsWriter
from memscan.scanner.results.masks import Summaries, mask_of, shares
from memscan.scanner.results.schema import COLUMNS, SCORE_COLUMNS, result_schema
from memscan.scanner.samples import MeasuredStep, Rejected, Sample, Scanned, Scores, StepMaps

STEPS = (MeasuredStep(3, 101, 0.5, 0.25, True), MeasuredStep(9, 1, 0.125, 0.5, False))


def maker(score_name: str = "dh_uncond_mean", **carried: pa.DataType) -> BatchMaker:
    return BatchMaker(result_schema(carried, {}), "some-model", "dh_uncond", score_name, STEPS)


def rows(batches: list[pa.RecordBatch]) -> list[dict[str, Any]]:
    return pa.Table.from_batches(batches).to_pylist()


def ramp(start: float) -> NDArray[np.float32]:
    """A map of 5 x 8, in which no two values, rows or columns are alike."""
    return (start + np.arange(40, dtype=np.float32).reshape(5, 8) / 40).astype(np.float32)


def test_scanned_samples_give_a_row_for_each_step_with_its_own_threshold() -> None:
    maps = {"dh_uncond": np.stack([ramp(0.5), ramp(0.0)]), "ds_uncond": np.stack([ramp(2.0), ramp(1.0)])}
    samples = (Sample(4, 7, "a rug", carried={"kind": "none"}), Sample(5, 7, "a mug", "x", carried={"kind": "local"}))
    steps = (StepMaps(maps, (None, None)),) * 2
    other, first, _, second = rows(
        maker(kind=pa.string()).scanned(Scanned(samples, (False, True), steps, ("sampled", "given, cropped from 9x7")))
    )
    assert {name: first[name] for name in ("row", "seed", "step_index", "timestep", "sigma", "threshold")} == {
        "row": 5, "seed": 7, "step_index": 3, "timestep": 101, "sigma": 0.5, "threshold": 0.25
    }  # fmt: skip
    assert (second["step_index"], second["threshold"], second["calibrated"]) == (9, 0.5, False)
    assert (first["status"], first["truncated"], first["kind"], first["id"]) == ("ok", True, "local", "x")
    assert (first["image_source"], other["image_source"]) == ("given, cropped from 9x7", "sampled")
    assert (other["prompt"], other["truncated"], other["kind"], other["id"]) == ("a rug", False, "none", None)
    values = ramp(0.0)
    assert first["dh_uncond_mean"] == first["score"] == np.float32(values.mean(dtype=np.float64))
    assert first["dh_uncond_max"] == values.max()
    assert first["dh_uncond_q99"] == np.quantile(values, 0.99)
    assert first["ds_uncond_max"] == ramp(1.0).max()
    assert other["dh_uncond_max"] == ramp(0.5).max()
    assert first["dh_base_mean"] is None
    assert first["mask_share"] == 30 / 40  # values 10/40 to 39/40 reach the threshold: it belongs to the mask
    decoded = coco.decode({"size": [first["mask_height"], first["mask_width"]], "counts": first["mask"]})
    np.testing.assert_array_equal(decoded, values >= 0.25)


def test_without_a_threshold_there_is_no_mask_and_the_scores_stay() -> None:
    steps = (STEPS[0], dataclasses.replace(STEPS[1], threshold=None))
    maps = StepMaps({"dh_uncond": ramp(0.0)[None]}, (None,))
    made = BatchMaker(result_schema({}, {}), "some-model", "dh_uncond", "dh_uncond_mean", steps)
    first, second = rows(made.scanned(Scanned((Sample(0, 0, "a mug"),), (False,), (maps, maps), ("sampled",))))
    lacking = ("threshold", "mask", "mask_height", "mask_width", "mask_share")
    assert None not in [first[name] for name in lacking]
    assert [second[name] for name in lacking] == [None] * len(lacking)
    assert (second["status"], second["calibrated"], second["score"]) == ("ok", False, first["score"])


def test_maps_that_failed_are_an_error_of_their_image_and_step_alone() -> None:
    maps = {"dh_uncond": np.stack([ramp(np.nan), ramp(0.0)])}
    fine = {"dh_uncond": np.stack([ramp(0.0), ramp(0.0)])}
    steps = (StepMaps(maps, ("not finite", None)), StepMaps(fine, (None, None)))
    samples = (Sample(0, 0, "a mug"), Sample(1, 0, "a mug"))
    failed, *others = rows(maker().scanned(Scanned(samples, (False, False), steps, ("sampled",) * 2)))
    assert (failed["status"], failed["error"], failed["truncated"]) == ("error", "not finite", False)
    measured = ("score", "mask", "mask_height", "mask_width", "mask_share", "dh_uncond_mean", "dh_uncond_q99")
    assert [failed[name] for name in measured] == [None] * len(measured)
    assert [other["status"] for other in others] == ["ok"] * 3
    assert None not in [other[name] for other in others for name in measured]


def with_scores(errors: tuple[str | None, ...] = (None, None)) -> Scanned:
    """Two images, the second of which has no score of sampling."""
    maps = {"dh_uncond": np.stack([ramp(0.0), ramp(0.5)])}
    scores = {
        "guidance_norm": Scores(np.array([3.5, 0.0], np.float32), np.array([True, False])),
        "flipd": Scores(np.array([40.0, 250.0], np.float32), np.array([True, True])),
    }
    samples = (Sample(0, 0, "a mug"), Sample(1, 0, "a rug"))
    return Scanned(samples, (False, False), (StepMaps(maps, errors, scores),) * 2, ("sampled",) * 2)


def test_scores_are_columns_of_their_names_and_null_where_an_image_has_none() -> None:
    first, second, *_ = rows(maker().scanned(with_scores()))
    assert (first["guidance_norm"], first["flipd"], first["update_norm"]) == (3.5, 40.0, None)
    assert (second["status"], second["guidance_norm"], second["flipd"]) == ("ok", None, 250.0)
    failed, *_ = rows(maker().scanned(with_scores(("not finite", None))))
    assert (failed["status"], failed["guidance_norm"], failed["flipd"], failed["score"]) == ("error", None, None, None)


@pytest.mark.parametrize(
    ("score_name", "expected"),
    [("dh_uncond_max", 39 / 40), ("guidance_norm", 3.5), ("flipd", -40.0)],
    ids=["summary of a map", "score", "score whose low values mean memorized: its sign turned"],
)
def test_score_is_the_chosen_column_and_the_mask_stays(score_name: str, expected: float) -> None:
    first, *_ = rows(maker(score_name).scanned(with_scores()))
    assert first["score"] == np.float32(expected)
    assert first["mask_share"] == 30 / 40


def test_columns_follow_the_catalogue() -> None:
    measured = [f"{name}_{summary}" for name in MAPS for summary in ("mean", "max", "q90", "q99", "share")] + list(
        SCORES
    )
    assert list(SCORE_COLUMNS) == measured
    assert [name for name in COLUMNS.names if name in SCORE_COLUMNS] == measured
    assert all(COLUMNS.field(name).type == pa.float32() for name in measured)
    assert (*Summaries._fields, "share") == ("mean", "max", "q90", "q99", "share")


def test_a_threshold_belongs_to_its_mask_in_float32_whatever_the_precision() -> None:
    third = np.float32(1 / 3)
    below, above = np.nextafter(third, np.float32(0)), np.nextafter(third, np.float32(1))
    assert mask_of(np.array([below, third, above]), 1 / 3).tolist() == [False, True, True]
    assert mask_of(np.array([0.25, 0.5], np.float16), 0.25).tolist() == [True, True]
    assert mask_of(np.array([0.5], np.float16), 0.5001).tolist() == [False]  # 0.5001 is 0.5 in float16


def test_shares_are_those_of_float64() -> None:
    masks = np.zeros((2, 1, 3), np.bool_)
    masks[1, 0, 0] = True
    assert shares(masks).tolist() == [0.0, 1 / 3]  # float32 gives 0.3333333433


def test_rejected_row_gives_an_error_row_for_each_step() -> None:
    rejected = Rejected(4, 2, None, "the prompt is null", "x", {"kind": "none"})
    table = pa.Table.from_batches(maker(kind=pa.string()).rejected([rejected]))
    assert table["step_index"].to_pylist() == [3, 9]
    for name, value in {"row": 4, "seed": 2, "status": "error", "error": "the prompt is null", "kind": "none"}.items():
        assert table[name].to_pylist() == [value, value]
    for name in ("prompt", "truncated", "score", "mask", "mask_share", "dh_uncond_mean"):
        assert table[name].null_count == 2, name


@pytest.mark.parametrize(("given", "source"), [(True, "given"), (False, "sampled"), (None, None)])
def test_rejected_row_says_where_its_image_would_come_from(given: bool | None, source: str | None) -> None:
    table = pa.Table.from_batches(maker().rejected([Rejected(0, 0, "a mug", "refused", image_given=given)]))
    assert table["image_source"].to_pylist() == [source] * 2


def test_carried_column_may_not_hide_a_result_column() -> None:
    with pytest.raises(UsageError) as caught:
        result_schema({"score": pa.string()}, {})
    assert str(caught.value) == ("column 'score' cannot be carried: the results have a column of that name; rename it")


def test_metadata_names_the_schema_version_and_the_features_of_hugging_face() -> None:
    metadata = result_schema({"n": pa.float64()}, {"fingerprint": "abc"}).metadata
    assert metadata[b"memscan.schema_version"] == b"4"
    assert metadata[b"memscan.fingerprint"] == b"abc"
    features = json.loads(metadata[b"huggingface"])["info"]["features"]
    assert list(features) == [*COLUMNS.names, "n"]
    assert features["row"] == {"dtype": "int64", "_type": "Value"}
    assert features["sigma"]["dtype"] == "float32"
    assert features["calibrated"]["dtype"] == "bool"
    assert features["scanned_at"]["dtype"] == "timestamp[ms, tz=UTC]"
    assert features["n"]["dtype"] == "float64"


def test_features_are_left_out_where_hugging_face_has_no_plain_type() -> None:
    assert b"huggingface" not in result_schema({"tags": pa.list_(pa.string())}, {}).metadata


def _duckdb(folder: Path) -> list[tuple[Any, ...]]:
    return duckdb.sql(f"SELECT row, mask FROM '{folder}/*.parquet'").fetchall()


def _polars(folder: Path) -> list[tuple[Any, ...]]:
    return polars.read_parquet(folder).select("row", "mask").rows()


def _pandas(folder: Path) -> list[tuple[Any, ...]]:
    pandas = pytest.importorskip("pandas", reason="pandas is not among the test requirements")
    frame = pandas.read_parquet(folder)
    return list(zip(frame["row"], frame["mask"], strict=True))


def _pyarrow(folder: Path) -> list[tuple[Any, ...]]:
    table = pq.read_table(folder)
    return list(zip(table["row"].to_pylist(), table["mask"].to_pylist(), strict=True))


@pytest.mark.parametrize("read", [_duckdb, _polars, _pandas, _pyarrow])
def test_reader_takes_the_folder_with_its_mark_of_success(
    read: Callable[[Path], list[tuple[Any, ...]]], tmp_path: Path
) -> None:
    expected = []
    for part in range(2):
        steps = (StepMaps({"dh_uncond": ramp(0.0)[None]}, (None,)),) * len(STEPS)
        table = pa.Table.from_batches(
            maker().scanned(Scanned((Sample(part, 0, "a mug"),), (False,), steps, ("sampled",)))
        )
        expected += list(zip(table["row"].to_pylist(), table["mask"].to_pylist(), strict=True))
        pq.write_table(table, tmp_path / f"part-{part:05d}.parquet", compression="zstd", write_page_checksum=True)
    (tmp_path / "_SUCCESS").touch()
    assert [(row, bytes(mask)) for row, mask in read(tmp_path)] == expected


def test_maps_are_stored_as_little_endian_float16_and_saturate() -> None:
    values = ramp(0.0)
    values[0, :3] = 1e6, -1e6, -65520  # the last is rounded to minus infinity
    stream = io.BytesIO()
    writer = MapsWriter(stream, {b"key": b"value"}, (9,))
    maps = {"dh_uncond": np.stack([values, ramp(np.nan)])}
    samples = (Sample(5, 7, "a mug"), Sample(6, 7, "a mug"))
    writer.add(Scanned(samples, (False, False), (StepMaps(maps, (None, "not finite")),), ("sampled",) * 2))
    writer.close()
    table = pq.read_table(io.BytesIO(stream.getvalue()))
    assert table.schema.equals(MAPS_SCHEMA)
    (row,) = table.to_pylist()
    assert {name: row[name] for name in ("row", "seed", "step_index", "map")} == {
        "row": 5, "seed": 7, "step_index": 9, "map": "dh_uncond"
    }  # fmt: skip
    stored = np.frombuffer(row["data"], "<f2").reshape(row["height"], row["width"])
    assert stored[0, :3].tolist() == [65504, -65504, -65504]  # the largest float16, not infinity
    np.testing.assert_array_equal(stored.ravel()[3:], values.ravel()[3:].astype(np.float16))


def test_a_map_that_an_image_lacks_is_null_and_so_is_its_mask_and_it_is_not_kept() -> None:
    has = np.array([True, False])
    maps = StepMaps({"dh_uncond": np.stack([ramp(0.0)] * 2)}, (None, None), exist={"dh_uncond": has})
    samples = (Sample(0, 1, "sampled"), Sample(1, 2, "given"))
    scanned = Scanned(samples, (False, False), (maps, maps), ("sampled", "given"))
    first, second = maker(score_name="guidance_norm").scanned(scanned)[0].to_pylist()
    assert first["dh_uncond_mean"] is not None
    assert first["mask"] is not None
    assert second["status"] == "ok"
    assert [second[name] for name in ("dh_uncond_mean", "dh_uncond_q90", "mask", "mask_share")] == [None] * 4
    stream = io.BytesIO()
    with MapsWriter(stream, {}, (3, 9)) as writer:
        writer.add(scanned)
    assert pq.read_table(stream)["row"].to_pylist() == [0, 0]


def test_share_is_that_of_the_calibrated_threshold_whatever_the_mask_is_made_at() -> None:
    step = MeasuredStep(3, 101, 0.5, 0.25, False, thresholds={"h_cond": 0.5})
    values = {"dh_uncond": ramp(0.0)[None], "h_cond": ramp(0.0)[None]}
    made = BatchMaker(result_schema({}, {}), "some-model", "dh_uncond", "dh_uncond_mean", (step,))
    scanned = Scanned((Sample(0, 1, "x"),), (False,), (StepMaps(values, (None,)),), ("sampled",))
    (row,) = made.scanned(scanned)[0].to_pylist()
    assert row["mask_share"] == 30 / 40
    assert row["h_cond_share"] == 20 / 40
    assert row["dh_uncond_share"] is None  # 0.25 was given, not calibrated
    assert row["dh_uncond_q90"] == np.float32(np.quantile(ramp(0.0), 0.9))
