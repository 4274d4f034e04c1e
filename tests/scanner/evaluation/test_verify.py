"""`memscan verify`: verdicts by Webster's rule on pictures whose error is known, and which picture is compared."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from memscan.scanner.cli import invoke
from memscan.scanner.evaluation.copies import COPY_RMSE, RETRIEVED_RMSE
from memscan.scanner.samples import Rejected
from tests.scanner.results.fabricated import scanned, write_ground_truth, write_results

TOP = np.repeat([True, False], 8)[:, None] & np.ones(16, dtype=bool)
BASE = np.full((16, 16, 3), 100, np.uint8)


def png(pixels: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def changed(by: int, where: Any = True) -> Any:
    """The base picture with `by` of 255 added where `where` holds."""
    return (BASE + by * np.broadcast_to(where, (16, 16))[:, :, None]).astype(np.uint8)


def write(folder: Path, pictures: list[Any], *, ids: bool = False, mask: Any = TOP) -> Path:
    maps = {"dh_uncond": (0.75 * mask).astype(np.float32)}
    items: list[Any] = [scanned(row, f"p/{row}", maps, id=f"i{row}" if ids else None) for row in range(len(pictures))]
    items.append(Rejected(len(pictures), 0, "bad", "seed is too large"))
    return write_results(folder, items, images={(row, 0): png(one) for row, one in enumerate(pictures)})


def verdicts(results: Path, out: Path, *options: str, code: int = 0) -> list[dict[str, Any]]:
    assert invoke(["verify", str(results), *options, "--out", str(out)]) == code
    return pq.read_table(out).to_pylist()


@pytest.fixture
def training(tmp_path: Path) -> Path:
    folder = tmp_path / "training"
    folder.mkdir()
    for row in range(4):
        Image.fromarray(BASE).save(folder / f"dl_{row:03d}.png")
    return folder


def test_verdicts(tmp_path: Path, training: Path, capsys: Any) -> None:
    """28 of 255 is .1098, below .1128; 29 is .1137, above. A change below the mask leaves a partial copy."""
    pictures = [changed(28), changed(29), changed(100, ~TOP), changed(0)]
    found = verdicts(write(tmp_path / "out", pictures), tmp_path / "v.parquet", "--images", str(training))
    assert [one["verdict"] for one in found] == ["copy", "no copy", "partial copy", "copy", "not compared"]
    assert found[0]["rmse"] == pytest.approx(28 / 255, abs=1e-12)
    assert found[0]["threshold"] == COPY_RMSE == pytest.approx((2500 / 196608) ** 0.5, rel=1e-12)
    # Bicubic enlargement spreads the edge over the mask's border: the masked error is small, not zero.
    assert 0 < found[2]["masked_rmse"] < 0.05 < COPY_RMSE < found[2]["rmse"]
    assert (found[2]["mask_share"], found[2]["mask_source"]) == (0.5, "result")
    assert [one["training_picture"] for one in found][:2] == ["dl_000.png", "dl_001.png"]
    assert found[4]["reason"] == "the scan failed: seed is too large"
    assert capsys.readouterr().out == (
        "3 of 4 images copy a training picture: 2 as a whole, 1 within the mask; 1 were not compared\n"
    )


def test_pictures_are_found_by_id_prompt_and_row(tmp_path: Path) -> None:
    folder = tmp_path / "training"
    folder.mkdir()
    for name in ("i0.png", "p_1.jpg", "0002.webp", "5.txt"):
        Image.fromarray(BASE).save(folder / name, "PNG")
    found = verdicts(write(tmp_path / "a", [BASE] * 3), tmp_path / "a.parquet", "--images", str(folder))
    assert [one["training_picture"] for one in found] == [None, "p_1.jpg", "0002.webp", None]
    found = verdicts(write(tmp_path / "b", [BASE] * 3, ids=True), tmp_path / "b.parquet", "--images", str(folder))
    assert [one["training_picture"] for one in found] == ["i0.png", "p_1.jpg", "0002.webp", None]


def test_a_black_picture_is_a_failed_download(tmp_path: Path, training: Path) -> None:
    Image.new("RGB", (256, 256)).save(training / "dl_000.png")
    found = verdicts(write(tmp_path / "out", [changed(0)]), tmp_path / "v.parquet", "--images", str(training))
    assert (found[0]["verdict"], found[0]["reason"]) == ("not compared", "there is no training picture for it")


def test_the_mask_and_the_picture_of_the_ground_truth_come_first(tmp_path: Path, training: Path) -> None:
    truth = tmp_path / "truth.parquet"
    rows = [{"prompt": "p/0", "kind": "local", "mask": ~TOP, "training_image": png(changed(100, TOP))}]
    write_ground_truth(truth, [*rows, {"prompt": "p/1", "kind": "local", "mask": ~TOP, "training_image": None}])
    results = write(tmp_path / "out", [BASE, BASE])
    found = verdicts(results, tmp_path / "v.csv.parquet", "--ground-truth", str(truth), "--images", str(training))
    assert [one["verdict"] for one in found] == ["partial copy", "not compared", "not compared"]
    assert (found[0]["mask_source"], found[0]["training_picture"]) == ("ground truth", "ground truth")


def test_the_nearest_template_counts_and_retrieved_pictures_have_their_own_threshold(tmp_path: Path) -> None:
    """30 of 255 is .1176: between the two thresholds."""
    root = tmp_path / "root"
    for folder in ("templates", "retrieved"):
        (root / folder).mkdir(parents=True)
    for name, pixels in (("far", changed(100)), ("near", changed(5, TOP))):
        (root / "templates" / f"{name}.png").write_bytes(png(pixels))
    (root / "templates" / "mask.png").write_bytes(png((TOP * 255).astype(np.uint8)))
    (root / "retrieved" / "r.png").write_bytes(png(changed(30)))
    images = ["templates/far.png", "templates/near.png"]
    table = pa.table({"img_file": images, "mask_file": ["templates/mask.png"] * 2})
    pq.write_table(table, root / "templates" / "metadata.parquet")
    pq.write_table(pa.table({"img_file": ["retrieved/r.png"]}), root / "retrieved" / "metadata.parquet")
    lines = '{"caption": "p/0", "overfit_type": "TV", "gen_seeds": [[0, 0], [0, 1]]}\n'
    (root / "g.jsonl").write_text(lines + '{"caption": "p/1", "overfit_type": "RV", "gen_seeds": [[0, 0]]}\n')
    found = verdicts(
        write(tmp_path / "out", [BASE, BASE]), tmp_path / "v.parquet", "--ground-truth", str(root / "g.jsonl")
    )
    assert [one["verdict"] for one in found] == ["copy", "copy", "not compared"]
    assert found[0]["masked_rmse"] == pytest.approx(5 / 255, rel=0.02)  # the edge is smoothed
    assert (found[1]["threshold"], found[1]["rmse"]) == (RETRIEVED_RMSE, pytest.approx(30 / 255, abs=1e-12))
    assert pytest.approx((3000 / 196608) ** 0.5, rel=1e-12) == RETRIEVED_RMSE


def test_a_picture_that_cannot_be_read_is_a_row_and_exit_code_3(tmp_path: Path, training: Path) -> None:
    (training / "dl_000.png").write_bytes(b"no picture")
    results = write(tmp_path / "out", [BASE, BASE])
    found = verdicts(results, tmp_path / "v.parquet", "--images", str(training), code=3)
    assert [one["verdict"] for one in found] == ["not compared", "copy", "not compared"]
    assert found[0]["reason"].startswith("image cannot be decoded")


def test_without_a_mask_the_whole_counts(tmp_path: Path, training: Path) -> None:
    results = write(tmp_path / "out", [changed(100, ~TOP)], mask=TOP & False)
    (one, _) = verdicts(results, tmp_path / "v.parquet", "--images", str(training))
    assert (one["verdict"], one["masked_rmse"], one["mask_source"]) == ("no copy", None, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "there are no training pictures: give --images FOLDER, or a ground truth that holds them"),
        (["--images", "nowhere"], "no folder of training pictures at nowhere"),
        (["--images", "empty"], "empty holds no pictures (.bmp, .gif"),
        (
            ["--images", "training", "--out", "v.txt"],
            "--out v.txt: a table is written to a file that ends in",
        ),
        (["--images", "training", "--out", "none/v.csv"], "cannot write none/v.csv: No such file or directory: choose"),
    ],
)
def test_wrong_usage_is_one_line(
    tmp_path: Path, training: Path, monkeypatch: Any, capsys: Any, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "R", [BASE])
    assert invoke(["verify", "R", *options]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"memscan: error: {message}") and said.count("\n") == 1


def test_results_without_images_say_how_to_keep_them(tmp_path: Path, training: Path, capsys: Any) -> None:
    results = write_results(tmp_path / "out", [scanned(0, "a", {"dh_uncond": 0.75 * TOP.astype(np.float32)})])
    assert invoke(["verify", str(results), "--images", str(training)]) == 2
    assert capsys.readouterr().err == (
        f"memscan: error: {results} holds no images: scan again with `memscan run --images`\n"
    )
