"""`memscan` as a process of its own, for tests of what it does with its streams, signals and files."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROGRAM = (sys.executable, "-c", "from memscan.scanner.cli import main; main()")


def run(arguments: Sequence[str | bytes | Path], **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run it to its end; `options` are those of subprocess.run."""
    return subprocess.run([*PROGRAM, *arguments], check=False, **options)


def run_in_shell(arguments: Sequence[str | Path], rest: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run it with redirections or a pipe behind it, in bash with pipefail."""
    line = f'set -o pipefail; "$@" {rest}'
    command = ["bash", "-c", line, "bash", *PROGRAM, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=dict(os.environ))
