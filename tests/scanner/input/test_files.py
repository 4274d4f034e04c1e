"""Which files a manifest is, whatever they are called, and how the output folder is named after them."""

import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.scanner.errors import ManifestError
from memscan.scanner.input.columns import Columns
from memscan.scanner.input.manifest import Manifest, open_manifest


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def put(path: str, *prompts: str, **columns: Any) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if Path(path).suffix in (".parquet", ".pq"):
        with Path(path).open("wb") as stream:
            pq.write_table(pa.table({"prompt": list(prompts or ["a mug"])} | columns), stream)
    elif Path(path).suffix == ".jsonl":
        Path(path).write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts or ["a mug"]))
    else:
        Path(path).write_text("prompt\n" + "".join(f"{prompt}\n" for prompt in prompts or ["a mug"]))
    return path


def run_folder(path: str) -> None:
    put(f"{path}/results/part-00000.parquet", "of a run")
    put(f"{path}/maps/part-00000.parquet", "of a run")
    put(f"{path}/_memscan/run.json")


def prompts(manifest: Manifest) -> list[object]:
    return [row.prompt for row in manifest.rows()]


def test_a_lake_is_read_by_a_glob_with_its_partitions_as_columns() -> None:
    put("lake/date=2024-02-01/kind=a%20b/part-0.parquet", "second", "third")
    put("lake/date=2024-01-01/kind=__HIVE_DEFAULT_PARTITION__/part-0.parquet", "first")
    put("lake/date=2024-01-01/_temporary/part-0.parquet", "unfinished")
    put("lake/_SUCCESS.parquet", "hidden")
    put("lake/date=2024-01-01/.part-0.crc.parquet", "hidden")
    manifest = open_manifest("lake/**/*.parquet", Columns(carry=("date", "kind")))
    assert prompts(manifest) == ["first", "second", "third"]
    assert manifest.carried == {"date": pa.string(), "kind": pa.string()}
    assert [row.carried for row in manifest.rows()] == [
        {"date": "2024-01-01", "kind": None},
        {"date": "2024-02-01", "kind": "a b"},
        {"date": "2024-02-01", "kind": "a b"},
    ]
    assert manifest.remarks == ("lake/**/*.parquet: 3 left out, hidden or of memscan's own runs",)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "txt", "parquet"])
def test_partitions_can_have_a_role_and_files_come_before_them(suffix: str) -> None:
    path = f"lake/Seed=7/id=x/prompt=no/m.{suffix}"
    put(path, "a mug")
    (row, *_) = open_manifest("lake/**/m.*", Columns(carry=("SEED",))).rows()
    assert (row.seed, row.id, row.carried) == (7, "x", {"SEED": "7"})
    assert row.prompt == "a mug"


def test_files_must_agree_about_partitions() -> None:
    put("lake/seed=7/m.parquet")
    put("lake/other/m.parquet")
    with pytest.raises(ManifestError, match=r"column 'seed' is missing in lake/other/m\.parquet and string in"):
        open_manifest("lake/**/*.parquet")


def test_several_manifests_are_one_in_the_order_of_their_paths() -> None:
    names = [put(f"lake/{name}.parquet", name) for name in ("B", "a", "c")]
    expected = ["B", "a", "c"]
    assert prompts(open_manifest(names[::-1])) == expected
    assert prompts(open_manifest("lake/*.parquet")) == expected
    twice = open_manifest(["lake/*.parquet", "./lake/a.parquet", str(Path("lake/B.parquet").absolute())])
    assert prompts(twice) == expected
    assert twice.remarks[0] == "lake/a.parquet is named twice, and read once"


def test_what_a_shell_expands_may_hold_runs_and_hidden_files() -> None:
    put("m.parquet")
    put("_hidden.parquet")
    run_folder("m.memscan")
    manifest = open_manifest(sorted(path.name for path in Path().iterdir()))
    assert prompts(manifest) == ["a mug"]
    assert manifest.remarks == ("left out: _hidden.parquet, hidden", "left out: m.memscan, a run of memscan")
    with pytest.raises(ManifestError, match=r"all are hidden, or runs of memscan$"):
        open_manifest(["_hidden.parquet", "m.memscan"])


@pytest.mark.parametrize("pattern", ["**/*.parquet", "*/**/*.parquet", "./**/*.parquet"])
@pytest.mark.parametrize("out", ["m.memscan", "night", "deep/er/night", "."])
def test_a_glob_never_matches_the_results_of_its_own_run(out: str, pattern: str) -> None:
    put("in/m.parquet")
    run_folder(out)
    assert prompts(open_manifest(pattern)) == ["a mug"]


def test_results_that_are_asked_for_are_a_manifest_too() -> None:
    run_folder("night")
    for manifest in ("night/results/*.parquet", "night/results", "night/results/part-00000.parquet"):
        assert prompts(open_manifest(manifest)) == ["of a run"]
    with pytest.raises(ManifestError, match=r"^night is the output folder of a run, and no manifest$"):
        open_manifest("night")
    with pytest.raises(
        ManifestError, match=r"^no file matches nigh\*/\*\*/\*\.parquet \(2 left out, hidden or of memscan"
    ):
        open_manifest("nigh*/**/*.parquet")


def test_advice_names_the_glob_that_works() -> None:
    put("lake/a=1/m.parquet")
    put("tables/m.csv", "from csv")
    put("tables/_x.jsonl")
    with pytest.raises(ManifestError, match=r"^lake holds no \.parquet files itself: say 'lake/\*\*/\*\.parquet'$"):
        open_manifest("lake")
    assert prompts(open_manifest("lake/**/*.parquet")) == ["a mug"]
    with pytest.raises(ManifestError, match=r"^tables holds no \.parquet files itself: say 'tables/\*\.csv'$"):
        open_manifest("tables/")
    assert prompts(open_manifest("tables/*.csv")) == ["from csv"]
    put("lake/m.parquet", "direct")
    manifest = open_manifest("lake")
    assert prompts(manifest) == ["direct"]
    assert manifest.remarks == ("left out: files in folders of lake; 'lake/**/*.parquet' takes them",)


@pytest.mark.parametrize(
    "path",
    ["scan-10:30.parquet", "a[1].parquet", "in[2]/m.parquet", "s3:/m.parquet", "file:m.parquet", "a b/*.parquet"],
)
def test_names_are_names_whatever_they_look_like(path: str) -> None:
    put(path, "a mug")
    assert prompts(open_manifest(path)) == ["a mug"]
    assert prompts(open_manifest(str(Path(path).absolute()))) == ["a mug"]


def test_a_glob_below_a_folder_with_brackets() -> None:
    put("in[2]/m.parquet")
    assert prompts(open_manifest("in[2]/*.parquet")) == ["a mug"]


@pytest.mark.parametrize("suffix", [b".parquet", b".csv"])
def test_a_name_that_is_not_utf_8_is_read_and_named_safely(suffix: bytes) -> None:
    name = os.fsdecode(b"caf\xe9" + suffix)
    put(name)
    for manifest in (name, f"*{suffix.decode()}"):
        opened = open_manifest(manifest)
        assert prompts(opened) == ["a mug"]
        opened.name.encode("utf-8")


@pytest.mark.parametrize(
    "url", ["hf://datasets/x/y.parquet", "https://x.org/*.csv", "ftp://x/m.csv", "hdfs://x/m.parquet"]
)
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(
        ManifestError, match=r" is a URL of a kind that is not supported: give a path, file://, s3://, gs://, az://$"
    ):
        open_manifest(url)


def test_what_is_no_file_is_refused_and_never_opened() -> None:
    os.mkfifo("pipe.csv")
    socket.socket(socket.AF_UNIX).bind("socket.csv")
    Path("loop.csv").symlink_to("loop.csv")
    Path("gone.csv").symlink_to("nothing.csv")
    for name in ("pipe.csv", "socket.csv", "/dev/zero"):
        with pytest.raises(ManifestError, match=r" is neither a file nor a folder: pipe it, and say -$"):
            open_manifest(name)
    with pytest.raises(ManifestError, match=r"^loop\.csv cannot be read \(Too many levels of symbolic links\)$"):
        open_manifest("loop.csv")
    with pytest.raises(ManifestError, match=r"cannot be read \(File name too long\)$"):
        open_manifest("x" * 300 + ".csv")
    with pytest.raises(ManifestError, match=r"^gone\.csv is a link to nothing: mend it, or remove it$"):
        open_manifest("gone*.csv")
    for name in ("", "**.csv"):
        with pytest.raises(ManifestError, match=r"is empty$|is no glob \("):
            open_manifest(name)


def test_a_file_that_changes_while_it_is_read_is_said() -> None:
    for name in ("m.parquet", "m.csv"):
        put(name, *map(str, range(10)))
        manifest = open_manifest(name)
        put(name, "fewer")
        with pytest.raises(ManifestError, match=rf"^{name} has changed while it was read: start again$"):
            list(manifest.rows())


@pytest.mark.parametrize("kind", ["m.parquet", "m.csv"])
def test_a_broken_image_column_is_found_by_the_census(kind: str) -> None:
    if kind == "m.csv":
        put(kind)
        assert open_manifest(kind).census().rows == 1
        return
    images = [bytes([i]) * 1000 for i in range(30)]
    put(kind, *["a mug"] * 30, image=images)
    content = bytearray(Path(kind).read_bytes())
    column = pq.read_metadata(kind).row_group(0).column(1)
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    Path(kind).write_bytes(content)
    with pytest.raises(ManifestError, match=r"^m\.parquet: row group 0 cannot be read \(.*\): write the file again$"):
        open_manifest(kind).census()


NAMED = [
    *(
        "m.parquet",
        "m.csv",
        "m.jsonl",
        "m.csv.parquet",
        "a[1].csv",
        "b[2].csv",
        "a_1_.csv",
        "x/m.parquet",
        "y/m.parquet",
    ),
    *("x-m.parquet", "Audit Q1 (O'Brien).csv", "a$(touch x).parquet", "-m.parquet", ".m.parquet", "caf\u00e9.csv"),
    *("x" * 200 + ".parquet", "x" * 199 + "y.parquet", "m.pq"),
]


def test_names_of_manifests_are_safe_and_never_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("here").mkdir()
    monkeypatch.chdir("here")
    for path in NAMED:
        put(path)
    shutil.copy("m.csv", "m.tsv")
    globs = ["*.csv", "x/*.parquet", "y/*.parquet", "x", "y/", f"../{Path.cwd().name}*/m.csv"]
    several = [["m.csv", "a[1].csv"], ["m.csv", "b[2].csv"]]
    names = [open_manifest(one).name for one in (*NAMED, "m.tsv", *globs, *several)]
    assert len(set(names)) == len(names)
    for name in names:
        assert all(one.isalnum() or one in "._-" for one in name)
        assert name[0] not in "-."
        assert len(name) <= 100


@pytest.mark.parametrize(
    ("manifest", "name"),
    [("m.parquet", "m"), ("./m.parquet", "m"), ("m.csv", "m.csv"), ("caf\u00e9.csv", "caf\u00e9.csv")],
)
def test_plain_names_stay(manifest: str, name: str) -> None:
    put(manifest)
    assert open_manifest(manifest).name == name


def test_the_same_manifest_has_the_same_name_however_it_is_spelt() -> None:
    put("x/m.parquet")
    spelt = ["x/m.parquet", "./x/m.parquet", str(Path("x/m.parquet").absolute()), "x/../x/m.parquet"]
    assert len({open_manifest(one).name for one in spelt}) == 1
    assert open_manifest("x/m.parquet").name.startswith("m-")
    assert open_manifest("*/m.parquet").name.startswith("m-")
