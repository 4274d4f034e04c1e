"""A scan on a disk of four megabytes that is full from a named file on, and again once there is room.

Run in a mount namespace of its own, `unshare --map-root-user --mount python -m tests.faults.full_disk DISK WORD COUNT
COPY ARGUMENT ...`: the disk is mounted on DISK and is full when the COUNT-th file whose name holds WORD is about to be
written. Printed is what came of it, as JSON; what the resumed scan left in DISK/out is copied to COPY.
"""

import contextlib
import io
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from memscan.scanner.cli import invoke
from memscan.scanner.results.store import LocalStore


def main(disk: str, word: str, count: str, copy: str, *arguments: str) -> None:
    """Scan twice, and say how."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=True)
    ballast = Path(disk) / "ballast"
    number, original = itertools.count(1), LocalStore._temporary

    def temporary(self: LocalStore, final: Path) -> Path:
        found = original(self, final)
        if word in str(final) and next(number) == int(count):
            fill(ballast)
        return found

    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
        patch.setattr(LocalStore, "_temporary", temporary)
        code = invoke([*arguments])
    was_full = ballast.exists()
    ballast.unlink(missing_ok=True)
    left = [str(path.relative_to(disk)) for path in Path(disk).rglob("*.tmp")]
    left += [path.name for path in (Path(disk) / "out" / "_memscan" / "tmp").rglob("*") if path.is_file()]
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        again = invoke([*arguments])
    shutil.copytree(Path(disk) / "out", copy)
    json.dump({"code": code, "said": said.getvalue(), "full": was_full, "left": left, "again": again}, sys.stdout)


def fill(ballast: Path) -> None:
    """Write until nothing more can be written."""
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as stream:
        while stream.write(b"\0" * 4096):
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
