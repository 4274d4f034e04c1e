"""Nothing phones home: no socket is opened, and nothing is written beside output, cache and temporary folder."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("scanner", "export", "kernels", "benchmarks", "testbed", "tests")
QUIET = Path("scanner/runtimes/quiet_onnxruntime.py")


def sealed(program: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run with an empty home and a temporary folder of its own; `folder` is the working folder."""
    for name in ("home", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "HF_", "ORT_"))}
    environment |= {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(ROOT)}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *program], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "code",
    ["import socket; socket.socket()", "import ctypes; ctypes.CDLL(None).socket(2, 1, 0)"],
    ids=["python", "native"],
)
def test_the_seal_holds(code: str, tmp_path: Path) -> None:
    opened = sealed(["-c", f"from tests.sealed import seal; seal(); {code}; print('open')"], tmp_path)
    assert opened.returncode < 0, opened.stdout


def test_a_whole_scan_opens_no_socket_and_writes_to_its_output_alone(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("prompt,seed\na mug on a cloth,1\na night owl,2\n")
    arguments = ["run", "m.csv", "--num-inference-steps", "4", "--step", "3", "--maps", "--images", "--out", "out"]
    done = sealed(["-m", "tests.sealed", *arguments], tmp_path)
    assert done.returncode == 0, done.stderr
    for command in (["show", "out"], ["eval", "out", "--ground-truth", "testbed"]):
        assert sealed(["-m", "tests.sealed", *command], tmp_path).returncode in (0, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "m.csv", "out", "tmp"]
    assert list((tmp_path / "home").rglob("*")) == []


def test_an_export_opens_no_socket_and_writes_to_its_bundle_alone(
    tiny_pipeline: Path, tiny_baseline: Path, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_pipeline.rglob("*")}
    arguments = ["export", str(tiny_pipeline), "bundle", "--tangents", "4", "--baseline", str(tiny_baseline)]
    done = sealed(["-m", "tests.sealed", *arguments], tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "home", "tmp"]
    assert list((tmp_path / "home").rglob("*")) == []
    assert {path: path.stat().st_mtime_ns for path in tiny_pipeline.rglob("*")} == before


def imports(file: Path) -> set[str]:
    """Names of the packages that a file's code imports, in any of its lines."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
    return found


def test_onnxruntime_is_imported_in_one_place() -> None:
    files = [file.relative_to(ROOT) for part in PARTS for file in sorted((ROOT / part).rglob("*.py"))]
    assert [file for file in files if "onnxruntime" in imports(ROOT / file)] == [QUIET]


def test_click_is_imported_by_the_command_line_alone() -> None:
    files = [
        file.relative_to(ROOT) for part in ("scanner", "export", "kernels") for file in (ROOT / part).rglob("*.py")
    ]
    users = {file for file in files if "click" in imports(ROOT / file)}
    assert {file for file in users if file.parent != Path("scanner/commands")} == {Path("scanner/cli.py")}
