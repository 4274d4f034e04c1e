"""Whatever happens to the standard streams, a scan goes on, ends with its own exit code, and leaves no traceback."""

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.scanner.process import memscan
from tests.scanner.results.fabricated import write_ground_truth

FULL = "memscan: error: standard output: [Errno 28] No space left on device"


def scan(analytic: Path) -> list[str | Path]:
    """One good row and one bad one: exit code 3."""
    return ["run", "--prompt", "a city", "--prompt", " ", "--model", analytic, "--step", "9", "--out", "out"]


def rows(folder: Path) -> list[str]:
    return pq.read_table(folder / "out" / "results")["status"].to_pylist()


@pytest.mark.parametrize(
    "rest",
    [
        "2>&-",
        "2>/dev/full",
        ">&-",
        ">/dev/full",
        "<&-",
        ">&- 2>&- <&-",
        "2> >(exec 0<&-)",
        "> >(exec 0<&-)",
        "2>&1 | head -c 0",
    ],
)
def test_a_scan_ends_with_its_own_exit_code(rest: str, analytic: Path, tmp_path: Path) -> None:
    done = memscan.run_in_shell(scan(analytic), rest, tmp_path)
    assert done.returncode == 3
    assert rows(tmp_path) == ["ok", "error"]
    for line in (done.stdout + done.stderr).splitlines():
        assert line == "out" or " memscan: " in line


def test_what_standard_output_lost_is_an_error_where_all_else_went_well(analytic: Path, tmp_path: Path) -> None:
    arguments = ["run", "--prompt", "a city", "--model", analytic, "--step", "9", "--out", "out"]
    done = memscan.run_in_shell(arguments, ">/dev/full", tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(f" ERROR {FULL}")
    truth = write_ground_truth(tmp_path / "truth.parquet", [{"prompt": "a city", "kind": "none", "mask": None}])
    judge: list[str | Path] = ["eval", "out", "--ground-truth", truth]
    assert memscan.run_in_shell(judge, ">/dev/full", tmp_path).returncode == 1
    assert memscan.run_in_shell(judge, "| head -n 1", tmp_path).returncode == 0
    assert memscan.run_in_shell(judge, ">/dev/null", tmp_path).returncode == 0


def test_a_file_never_takes_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """Libraries write their complaints to stream 2 whatever file that is."""
    program = """
from memscan.scanner.process.streams import guard_streams
guard_streams()
with open("file", "w") as stream:
    assert stream.fileno() > 2
"""
    for closed in ("0", "1", "2"):
        done = subprocess.run(
            ["bash", "-c", f'"$@" {closed}>&-', "bash", sys.executable, "-c", program], cwd=tmp_path, check=False
        )
        assert done.returncode == 0


@pytest.mark.parametrize("locale", ["C.UTF-8", "C", "POSIX"])
def test_names_that_are_not_utf8_are_written_as_they_are(locale: str, analytic: Path, tmp_path: Path) -> None:
    name = b"caf\xe9 \xe6\x97\xa5"
    arguments = [b"run", b"--prompt", b"a city", b"--model", bytes(analytic), b"--step", b"9", b"--out", name]
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": locale, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = memscan.run(arguments, cwd=tmp_path, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == name + b"\n"
    assert rb"caf\xe9" in done.stderr  # in the command that shows the scores
    assert (tmp_path / name.decode("utf-8", "surrogateescape") / "results" / "_SUCCESS").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [b"run", b"--prompt-column", b"caf\xe9", b"m.csv"],
        [b"run", b"--carry", b"caf\xe9", b"m.csv"],
        [b"run", b"--mask-map", b"caf\xe9", b"--prompt", b"a"],
        [b"run", b"--sampler", b"caf\xe9", b"--prompt", b"a"],
        [b"run", b"caf\xe9.csv"],
        [b"run", b"caf\xe9.parquet"],
        [b"run", b"--model", b"caf\xe9", b"--prompt", b"a"],
        [b"eval", b"caf\xe9", b"--ground-truth", b"testbed"],
        [b"eval", b"out", b"--ground-truth", b"caf\xe9"],
        [b"show", b"caf\xe9"],
        [b"build", b"caf\xe9"],
        [b"caf\xe9"],
        [b"run", b"--caf\xe9"],
    ],
    ids=lambda words: b" ".join(words).decode("latin-1"),
)
def test_arguments_that_are_not_utf8_are_usage_errors(arguments: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("prompt\na city\n")
    done = memscan.run(arguments, cwd=tmp_path, capture_output=True)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    done.stderr.decode("ascii")


def test_what_steers_a_terminal_reaches_it_escaped(tmp_path: Path) -> None:
    escape = b"\x1b]0;title\x07"
    for arguments in ([b"run", b"gone" + escape], [b"run", b"--step", escape, b"--prompt", b"a"], [escape]):
        done = memscan.run(arguments, cwd=tmp_path, capture_output=True)
        assert done.returncode == 2
        assert b"\x1b" not in done.stderr
        assert rb"\x1b]0;title\x07" in done.stderr
