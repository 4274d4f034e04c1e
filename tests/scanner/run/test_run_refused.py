"""What `memscan run` says of bad input, wrong options and runs that cannot be completed, each in one line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from memscan.scanner.cli import cli, invoke
from memscan.scanner.commands.run import command
from memscan.scanner.metrics.catalogue import MAPS, METRICS
from memscan.scanner.results.run_record import adopt_record
from memscan.scanner.run import runner
from memscan.scanner.scanning.scanner import Scanner
from tests.scanner.run.run_command import error, results, run, write


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_run_stops_at_too_many_errors_with_the_first_reasons(
    analytic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("m.parquet", prompt=["a city", None, "a rug", " ", "a broken mug", None, "a mug"])
    arguments = ("m.parquet", "--model", analytic, "--step", 9, "--part-rows", 1, "--batch-size", 1)
    line = error(*arguments, "--max-errors", 2, code=3, capsys=capsys)
    assert line.startswith(
        "3 images failed, more than --max-errors 2: the prompt is null; the prompt is empty; not finite at timestep 1"
    )
    assert results("m.memscan")["row"].to_pylist() == [0, 1, 2, 3, 4]
    assert not Path("m.memscan/results/_SUCCESS").exists()
    _, lines = run(*arguments, "--max-errors", 2, code=3, capsys=capsys)
    assert lines[:1] == ["memscan: 5 of 7 images are done already"]
    assert "3 images failed, more than --max-errors 2: the prompt is null; the prompt is empty; not fin" in lines[1]
    run(*arguments, "--max-errors", 4, code=3, capsys=capsys)
    assert Path("m.memscan/results/_SUCCESS").exists()


def test_old_name_of_an_option_says_the_new_one(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, lines = run("--prompt", "a city", "--model", analytic, "--shard-rows", 3, code=2, capsys=capsys)
    assert lines[-1] == "Error: --shard-rows is called --part-rows now"


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_manifest_that_shrinks_while_it_is_scanned_completes_nothing(
    name: str, analytic: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_rows(count: int) -> None:
        table = pa.table({"prompt": [f"a city {number}" for number in range(count)]})
        if name == "m.csv":
            pa_csv.write_csv(table, name)
        else:
            pq.write_table(table, name, row_group_size=2)

    def shrink(*arguments: Any) -> Any:
        write_rows(5)
        return adopt_record(*arguments)

    write_rows(12)
    with monkeypatch.context() as patched:
        patched.setattr(runner, "adopt_record", shrink)  # the first thing that is done after the rows were counted
        line = error(name, "--model", analytic, "--step", 9, "--part-rows", 3, "--out", "out", capsys=capsys)
    assert "changed while it was" in line
    assert {file.name for file in Path("out/results").glob("*")} <= {"part-00000.parquet"}
    write_rows(12)
    run(name, "--model", analytic, "--step", 9, "--part-rows", 3, "--out", "out", code=0, capsys=capsys)
    assert results("out")["row"].to_pylist() == list(range(12))


def test_images_that_are_lost_on_the_way_complete_nothing(
    analytic: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Scanner.scan
    monkeypatch.setattr(Scanner, "scan", lambda scanner, prepared: original(scanner, prepared[1:]))
    line = error("--prompt", "a city", "--prompt", "a mug", "--model", analytic, code=1, capsys=capsys)
    assert line == "part 0 came out with 1 images in place of 2: it is not kept; run the same command again"
    assert not Path("prompts.memscan/results").exists()


def test_metrics_are_listed_from_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["run", "--list-metrics"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[2:].split()[0] for line in lines] == list(METRICS)
    assert lines[0].split(None, 3) == [
        "*",
        "dh_uncond",
        "map",
        "2 x K                curvature, less that without a prompt",
    ]
    prices = {line[2:].split()[0]: line[28:49].strip() for line in lines}
    assert prices["ds_path"] == prices["guidance_norm"] == prices["ds_uncond"] == "free"
    assert prices["anisotropy"] == "2 passes once"
    assert prices["sharpness"] == "2 calls once"
    assert prices["flipd"] == "1 x K"
    assert (prices["bright_ending"], prices["condition_jacobian"]) == ("1 to observe", "1 x the text")


def test_no_arguments_say_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    out, lines = run(code=2, capsys=capsys)
    assert out == ""
    assert lines[0] == "memscan: nothing to scan yet: give a manifest, or a prompt."
    assert "  memscan run manifest.parquet           scan a file with a column `prompt` (Parquet, CSV, JSONL)" in lines


def test_manifest_and_prompt_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    _, lines = run("m.parquet", "--prompt", "a city", code=2, capsys=capsys)
    assert lines[-1] == "Error: give a MANIFEST or --prompt, not both"
    _, lines = run("--prompt", "a city", "--carry", "kind", code=2, capsys=capsys)
    assert lines[-1] == "Error: --carry needs a MANIFEST: a --prompt has no columns"


def test_bad_manifest_is_one_line(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ("--model", analytic)
    assert error("gone.parquet", *model, capsys=capsys) == "no such manifest: gone.parquet"
    Path("text.parquet").write_text("a mug")
    assert error("text.parquet", *model, capsys=capsys).startswith("text.parquet is not a Parquet file (")
    write("captions.parquet", caption=["a mug"])
    assert error("captions.parquet", *model, capsys=capsys) == (
        "captions.parquet has no column 'prompt'; its columns are: caption; say which with --prompt-column"
    )
    write("m.parquet", prompt=["a mug"], score=[1.0])
    assert error("m.parquet", *model, "--carry", "score", capsys=capsys) == (
        "column 'score' cannot be carried: the results have a column of that name; rename it"
    )
    assert not list(Path().glob("*.memscan"))


def test_manifest_that_breaks_in_the_middle_is_refused_before_work_begins(
    analytic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = [f"a city {i}" for i in range(300)]
    pq.write_table(pa.table({"prompt": prompts}), "m.parquet", row_group_size=100, write_page_checksum=True)
    content = bytearray(Path("m.parquet").read_bytes())
    content[pq.read_metadata("m.parquet").row_group(2).column(0).data_page_offset + 60] ^= 1
    Path("m.parquet").write_bytes(content)
    line = error("m.parquet", "--model", analytic, capsys=capsys)
    assert line.startswith("m.parquet: row group 2 cannot be read (")
    assert not Path("m.memscan").exists()


def test_bad_bundle_is_one_line(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = Path("bundle")
    prompt = ("--prompt", "a city", "--model", "bundle")
    assert error(*prompt, capsys=capsys) == "no bundle at bundle: make one with `memscan export MODEL bundle`"
    bundle.mkdir()
    assert error(*prompt, capsys=capsys) == (
        "bundle is not a bundle: it has no bundle.json; make one with `memscan export`"
    )
    shutil.copytree(analytic, bundle, dirs_exist_ok=True)
    (bundle / "step.onnx").write_bytes((bundle / "step.onnx").read_bytes() + b"\0")
    assert error(*prompt, capsys=capsys) == (
        "bundle was altered: step.onnx does not have the recorded digest; export the model again"
    )
    (bundle / "step.onnx").unlink()
    assert error(*prompt, "--no-verify", capsys=capsys) == (
        "bundle is incomplete: step.onnx is missing; export the model again"
    )
    record = json.loads((bundle / "bundle.json").read_text())
    for version in (2, 99):
        (bundle / "bundle.json").write_text(json.dumps(record | {"format_version": version}))
        assert error(*prompt, capsys=capsys) == (
            f"bundle has bundle format {version}, this memscan reads 4 to 6: export the model again"
        )


def test_altered_bundle_can_be_used_unverified(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(analytic, "bundle")
    with Path("bundle/tokenizer.json").open("a") as stream:
        stream.write("\n")
    run("--prompt", "a city", "--model", "bundle", "--no-verify", "--step", 9, code=0, capsys=capsys)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--step", 10], "--step 10: 10 inference steps have the indices 0 to 9"),
        (["--timestep", 2], "--timestep 2 is none of the sampler's 10; near it are 301, 201, 101, 1"),
        (["--mask-map", "h"], f"--mask-map h: expected one of {', '.join(MAPS)}"),
        (["--metrics", "h_cond,x"], f"--metrics x: expected all, free, or some of {', '.join(METRICS)}"),
        (
            ["--metrics", "update_z"],
            "--metrics update_z needs a reference of clean prompts, which this model does not have",
        ),
        (["--smooth", 2], "--smooth 2: expected an odd number of cells, 1 to those of a map, 8 x 8"),
        (["--smooth", 9], "--smooth 9: expected an odd number of cells, 1 to those of a map, 8 x 8"),
        (["--step", 1, "--score", "dsm"], "--score dsm: there is none before step 2, and step 1 is measured"),
        (["--num-inference-steps", 0], "0 inference steps: the model has 1 to 1000"),
        (["--num-probes", 0], "0 probes: at least one is needed"),
    ],
)
def test_bad_measurement_is_one_line(
    options: list[object], line: str, analytic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert error("--prompt", "a city", "--model", analytic, *options, capsys=capsys) == line


def test_help_groups_every_option() -> None:
    result = CliRunner().invoke(cli, ["run", "--help"])
    assert result.exit_code == 0
    for heading in ("Input:", "Model:", "Measurement:", "Output:", "Execution:", "Other:"):
        assert f"\n{heading}\n" in result.output
    other = result.output.partition("\nOther:\n")[2].splitlines()
    assert [line.split()[0] for line in other if line.lstrip().startswith("-")] == [
        "--config",
        "--quiet",
        "--log-format",
        "-h,",
    ]
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.opts[-1] in result.output


def test_help_of_run_imports_nothing_heavy() -> None:
    program = """
import sys
from datetime import UTC, datetime, timedelta
from memscan.scanner.cli import invoke
invoke(["run", "--help"])
invoke(["run"])
heavy = {"numpy", "pyarrow", "onnxruntime", "tokenizers", "PIL", "tqdm", "torch"}
print(*sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == ""
