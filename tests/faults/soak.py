"""Kill a scan again and again, at random moments, and say what was lost: `python -m tests.faults.soak --kills 200`.

Each scan has maps and images. It is started and killed by SIGKILL until it ends by itself, is compared with one that
nothing happened to, and a new one begins. The scans are forks of one process that has imported everything, so that a
kill costs the time of the scan alone.
"""

import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import click

from memscan.scanner.cli import invoke
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime
from tests.analytic_bundle import write_analytic_bundle
from tests.faults.scan import arguments, assert_whole, undisturbed


class Soaked(NamedTuple):
    """How many kills hit a scan, how many scans were finished and compared, and what of them was not as it should."""

    kills: int
    scans: int
    lost: tuple[str, ...]


def soak(kills: int, folder: Path, seed: int = 0) -> Soaked:
    """Kill so many times, and compare every scan that ends."""
    assert onnxruntime  # imported before the forks, which is most of the time of so small a scan
    random_moments = random.Random(seed)
    write_analytic_bundle(folder / "model")
    longest = min(_seconds(arguments(folder / f"timed-{turn}", folder / "model")) for turn in range(3))
    whole = _undisturbed(folder)
    hit, scans, lost = 0, 0, []
    while hit < kills:
        asked = arguments(folder / "scan", folder / "model")
        while True:
            child = _fork(asked)
            time.sleep(random_moments.uniform(0, longest))
            os.kill(child, signal.SIGKILL)
            if (code := _wait(child)) != -signal.SIGKILL:
                break
            hit += 1
        scans += 1
        lost += _compare(folder / "scan" / "out", whole, code)
        shutil.rmtree(folder / "scan")
    return Soaked(hit, scans, tuple(lost))


def _seconds(asked: list[str]) -> float:
    """How long a scan takes that nothing happens to."""
    began = time.monotonic()
    code = _wait(_fork(asked))
    assert code == 3, code
    return time.monotonic() - began


def _undisturbed(folder: Path) -> dict[str, Any]:
    """In this process, after the fork that was timed: a fork must not find an engine whose threads are gone."""
    child = os.fork()
    if not child:
        os._exit(0 if undisturbed(folder / "undisturbed", folder / "model") else 1)
    assert _wait(child) == 0
    from tests.scanner.run.small_run import contents

    return contents(folder / "undisturbed" / "out")


def _compare(out: Path, whole: dict[str, Any], code: int) -> list[str]:
    try:
        assert code == 3, f"exit code {code}"
        assert_whole(out, whole)
    except (AssertionError, OSError) as error:
        return [str(error).splitlines()[0]]
    return []


def _fork(asked: list[str]) -> int:
    child = os.fork()
    if child:
        return child
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os._exit(invoke(asked))


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@click.command()
@click.option("--kills", type=click.IntRange(1), default=200, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def main(kills: int, seed: int) -> None:
    """Kill a scan with maps and images so many times, and print what was lost."""
    with tempfile.TemporaryDirectory(prefix="memscan-soak-") as folder:
        done = soak(kills, Path(folder), seed)
    said = "nothing" if not done.lost else "; ".join(done.lost)
    click.echo(f"{done.kills} kills, {done.scans} scans finished and compared; lost: {said}")
    raise SystemExit(1 if done.lost else 0)


if __name__ == "__main__":
    main()
