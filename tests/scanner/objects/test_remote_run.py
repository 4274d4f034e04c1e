"""`memscan run` with manifest, model and output in an object store: the results of a run on a disk."""

import io
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from memscan.scanner.cli import invoke
from memscan.scanner.objects.client import Objects
from memscan.scanner.place import Url
from memscan.scanner.results import layout
from memscan.scanner.results.reader import open_results
from memscan.scanner.results.store_at import store_at
from tests.scanner.objects.conftest import SECRET, contents
from tests.scanner.run import small_run
from tests.scanner.run.small_run import ROWS, write_manifest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "memscan" / "bundles"


@pytest.fixture
def uploaded(bucket: Url, analytic: Path, tmp_path: Path) -> Url:
    """A bucket with the analytic bundle and a manifest."""
    objects = Objects(bucket)
    for file in analytic.rglob("*"):
        if file.is_file():
            objects.write(f"model/{file.relative_to(analytic)}", file.read_bytes())
    objects.write("in/m.parquet", write_manifest(tmp_path / "m.parquet", ROWS).read_bytes())
    return bucket


@pytest.fixture
def arguments(uploaded: Url) -> list[str]:
    """The command of a run in the bucket, in three parts."""
    return small_run.command(uploaded / "in/m.parquet", uploaded / "model", uploaded / "night")  # type: ignore[arg-type]


def visible(out: Url) -> dict[str, Any]:
    """All that a reader sees of a run, as `small_run.visible`."""
    return {
        name: small_run.without_time(pq.read_table(io.BytesIO(content), page_checksum_verification=True))
        if name.endswith(".parquet")
        else content
        for name, content in contents(out).items()
        if not name.startswith(("_memscan/", layout.SUCCESS))
    }


@pytest.fixture
def whole(finished_run: Path) -> dict[str, Any]:
    """What the same run leaves on a disk."""
    return small_run.contents(finished_run)


def test_run_in_an_object_store_is_that_on_a_disk(
    uploaded: Url, arguments: list[str], whole: dict[str, Any], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke([*arguments, "--share", "1/2"]) == 3
    assert "share 1-of-2 is done; 1 of 3 parts are left to the other shares" in capsys.readouterr().err
    assert invoke([*arguments, "--share", "0/2"]) == 3
    night = uploaded / "night"
    assert visible(night) == whole
    assert contents(night)[layout.SUCCESS] == b""
    assert not [name for name in contents(night) if name.startswith(("_memscan/tmp", "_memscan/lock", layout.PROBE))]
    assert len(list(cache.iterdir())) == 1
    assert capsys.readouterr().out == f"{night}\n"
    assert invoke(arguments) == 3
    assert "already complete: 8 images" in capsys.readouterr().err
    assert invoke(["status", str(night)]) == 0
    said = capsys.readouterr().out
    assert f"{night}: complete, 3 of 3 parts are done, with 8 images, 2 of them with errors" in said
    assert open_results(str(night)).finished
    assert open_results(Path(str(night))).table.num_rows == 8 * len(small_run.STEPS)


def test_torn_part_is_set_aside_and_done_again(
    uploaded: Url, arguments: list[str], whole: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(arguments) == 3
    night = Objects(uploaded / "night")
    part, image = layout.results_part(1), next(iter(sorted(night.names(layout.IMAGES))))
    night.write(part, contents(night.place)[part][:-9])
    night.remove(image)
    capsys.readouterr()
    assert invoke(arguments) == 3
    said = capsys.readouterr().err
    assert f"{night.place / part} is damaged: it is kept as _memscan/damaged/{part}-" in said
    assert "part 0 lacks 1 images" in said
    assert visible(night.place) == whole
    assert len(list(night.names(layout.DAMAGED))) == 1


def test_a_run_that_is_killed_between_objects_goes_on(
    uploaded: Url, arguments: list[str], whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before every one of its writes in turn."""
    original, left = Objects.write, 0

    def write(objects: Objects, name: str, *arguments: Any, **options: Any) -> None:
        nonlocal left
        left -= not name.startswith(layout.PULSES)
        if left < 0:
            raise KeyboardInterrupt
        original(objects, name, *arguments, **options)

    monkeypatch.setattr(Objects, "write", write)
    for left in range(3, 40, 3):  # noqa: B007
        code = invoke(arguments)
        if code != 130:
            break
    assert code == 3
    assert visible(uploaded / "night") == whole


def test_another_run_and_other_rows_are_refused(
    uploaded: Url, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(arguments) == 3
    assert invoke([*arguments, "--guidance", "3"]) == 2
    assert f"{uploaded / 'night'} holds another run: " in capsys.readouterr().err
    Objects(uploaded).write("in/m.parquet", write_manifest(tmp_path / "n.parquet", ROWS[::-1]).read_bytes())
    assert invoke(arguments) == 2
    assert "differs from the one that" in capsys.readouterr().err


def test_bundle_that_was_altered_is_refused_and_not_kept(
    uploaded: Url, arguments: list[str], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Objects(uploaded).write("model/step.onnx", b"something else")
    assert invoke(arguments) == 2
    assert f"{uploaded / 'model'} was altered: step.onnx does not have the recorded digest" in capsys.readouterr().err
    (kept,) = cache.iterdir()
    assert "step.onnx" not in {file.name for file in kept.iterdir()}
    assert not list(kept.glob(".*"))


def test_bundle_that_leads_elsewhere_is_refused(
    uploaded: Url, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Objects(uploaded).write("model/bundle.json", b'{"files": {"../../elsewhere": "0"}}')
    assert invoke(arguments) == 2
    assert "its list of files has '../../elsewhere'" in capsys.readouterr().err
    assert not list(tmp_path.rglob("elsewhere"))


def test_fetched_bundle_is_fetched_once(uploaded: Url, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke([*arguments, "--dry-run"]) == 0
    for name in list(Objects(uploaded / "model").names("")):
        if name != "bundle.json":
            Objects(uploaded / "model").remove(name)
    assert invoke([*arguments, "--dry-run"]) == 0


@pytest.mark.parametrize(
    ("options", "error"),
    {
        "secrets in the URL": (
            ["s3://somebody:{secret}@b/m.csv"],
            "s3://***@b/m.csv holds more than a bucket and a key",
        ),
        "signature in the URL": (["s3://b/m.csv?X-Amz-Signature={secret}"], r"s3://b/m.csv?*** holds more than a"),
        "another kind": (["https://x/m.csv?sig={secret}"], "https://x/m.csv?*** is a URL of a kind that is not supp"),
        "another kind, out": (["--prompt", "x", "--out", "ftp://me:{secret}@x/o"], "ftp://***@x/o is a URL of a kind"),
        "no bucket": (["s3:///m.csv"], "s3:///m.csv names no bucket: expected s3://BUCKET/KEY"),
        "climbing": (["s3://b/../m.csv"], "has a part that is empty, . or .."),
        "missing bucket": (["s3://b-{secret_free}/m.csv"], "(NoSuchBucket)"),
        "missing object": (["{bucket}/m.csv"], "is not there"),
        "missing bundle": (
            ["--prompt", "x", "--model", "{bucket}/model"],
            "it has no bundle.json; copy a bundle there",
        ),
        "both kinds": (["{bucket}/in.csv", "m.csv"], "no such manifest: m.csv"),
    }.values(),
)
def test_what_cannot_be_is_one_line_without_secrets(
    options: list[str], error: str, bucket: Url, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Objects(bucket).write("in.csv", b"prompt\nx\n")
    words = [one.format(secret=SECRET.replace("/", "-"), secret_free="nobodys", bucket=bucket) for one in options]
    assert invoke(["run", *words]) == 2
    said = capsys.readouterr().err
    assert error in said
    assert "sekrit" not in said
    assert not [file.name for file in tmp_path.iterdir() if file.name != "cache"]


def test_manifests_of_several_objects(bucket: Url) -> None:
    from memscan.scanner.input.columns import Columns
    from memscan.scanner.input.manifest import open_manifest

    objects = Objects(bucket)
    for name, prompt in {
        "lake/day=2/part-0.parquet": "second",
        "lake/day=1/part-0.parquet": "first",
        "lake/day=1/_temporary/part-0.parquet": "unfinished",
        "lake/day=1/run/_memscan/run.json": "a run",
        "lake/day=1/run/results/part-00000.parquet": "of a run",
        "flat/b.parquet": "2",
        "flat/a.parquet": "1",
        "flat/notes.txt": "no part",
        "flat/deeper/c.parquet": "3",
    }.items():
        sink = io.BytesIO()
        import pyarrow as pa

        pq.write_table(pa.table({"prompt": [prompt]}), sink)
        objects.write(name, sink.getvalue())
    lake = open_manifest(f"{bucket}/lake/**/*.parquet", Columns(carry=("day",)))
    assert [(row.prompt, row.carried["day"]) for row in lake.rows()] == [("first", "1"), ("second", "2")]
    assert [row.prompt for row in open_manifest(f"{bucket}/flat").rows()] == ["1", "2"]
    assert [row.prompt for row in open_manifest(f"{bucket}/flat/[!a].parquet").rows()] == ["2"]
    store_at(bucket)


def test_images_of_a_manifest_lie_beside_it(bucket: Url) -> None:
    from memscan.scanner.errors import RowError
    from memscan.scanner.input.image_files import read_image_file

    objects = Objects(bucket)
    objects.write("in/images/a.png", b"a picture")
    objects.write("secret.png", b"not beside it")
    assert read_image_file("images/a.png", bucket / "in") == b"a picture"
    for path, why in {
        "../secret.png": "lies outside of",
        "/secret.png": "lies outside of",
        "b.png": "no such ima",
    }.items():
        with pytest.raises(RowError, match=why):
            read_image_file(path, bucket / "in")
