"""A disk that is really full, from a moment of each kind on."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.scan import arguments, assert_whole

MOMENTS = {
    "the record": ("run.json", 1),
    "the first results": ("results/part-00000", 1),
    "maps": ("maps/part-00001", 1),
    "an image of a part that has others": ("00000001-3.png", 1),
    "the last results": ("results/part-00002", 1),
    "the summary": ("summary.json", 1),
}
"""A word of the name of the file that finds no room, and which of such files."""


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_full_disk_is_one_line_and_the_same_command_does_the_rest(
    moment: str, model: Path, tmp_path: Path, expected: dict[str, Any]
) -> None:
    """In a mount namespace of its own, which the tests' user needs to be allowed to make: containers may forbid it."""
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    asked = arguments(tmp_path, model)
    asked[asked.index("--out") + 1] = str(disk / "out")
    word, count = MOMENTS[moment]
    scan = [sys.executable, "-m", "tests.faults.full_disk", str(disk), word, str(count), str(copy), *asked]
    done = subprocess.run([*namespace(), *scan], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["full"], "the moment never came"
    *_, line = found["said"].splitlines()
    assert (found["code"], line) == (
        1,
        "memscan: error: [Errno 28] No space left on device: mend the disk or device, then run the same command again",
    )
    assert found["said"].count("memscan: error: ") == 1
    assert found["left"] == []
    assert found["again"] == 3
    assert_whole(copy, expected)


def namespace() -> list[str]:
    """What gives a command mounts of its own: as root without a user namespace, which containers often forbid."""
    return ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
