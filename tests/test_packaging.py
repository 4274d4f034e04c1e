"""Start-up, import names and the promise that a scan needs no torch."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = (
    "numpy",
    "pyarrow",
    "PIL",
    "onnxruntime",
    "tokenizers",
    "tqdm",
    "jinja2",
    "torch",
    "diffusers",
    "transformers",
    "onnx",
    "cuda",
    "tensorrt_rtx_bindings",
)


def run(code: str, cwd: Path) -> str:
    result = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["eval", "--help"],
        ["export", "--help"],
        ["build", "--help"],
        ["report", "--help"],
        ["diff", "--help"],
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = f"""
import sys
from memscan.scanner.cli import invoke
assert invoke({arguments!r}) == 0
print("LOADED", *sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    assert run(code, tmp_path).splitlines()[-1].strip() == "LOADED"


def test_a_scan_never_imports_torch(tmp_path: Path) -> None:
    """All modules of the scanner are importable where torch, onnx, diffusers and transformers are not."""
    modules = sorted(
        ".".join(("memscan.scanner", *file.relative_to(ROOT / "scanner").with_suffix("").parts))
        for file in (ROOT / "scanner").rglob("*.py")
    )
    code = f"""
import importlib, sys
for name in ("torch", "onnx", "onnx_ir", "diffusers", "transformers", "onnxscript"):
    sys.modules[name] = None
for module in {modules!r}:
    importlib.import_module(module.removesuffix(".__init__"))
"""
    run(code, tmp_path)


@pytest.mark.parametrize("first", ["memscan.kernels.jvp_attention", "transformers"])
def test_the_folder_kernels_shadows_nothing(first: str) -> None:
    """transformers and diffusers look for a package `kernels`: they must not take the folder of the root for it."""
    code = f"""
import importlib, sys
importlib.import_module({first!r})
import diffusers.utils, transformers.utils, memscan.kernels, memscan.scanner, memscan.export
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel
for library in (diffusers, transformers):
    assert not library.utils.is_kernels_available(), library.__name__
print(memscan.kernels.__file__)
"""
    assert Path(run(code, ROOT).strip()) == ROOT / "kernels" / "__init__.py"


def test_the_wheel_holds_every_module_and_the_embedded_model(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
        env={**os.environ, "PIP_CONSTRAINT": str(ROOT / "constraints.txt")},
    )
    from zipfile import ZipFile

    (wheel,) = tmp_path.glob("memscan-*.whl")
    names = set(ZipFile(wheel).namelist())
    for part in ("scanner", "export", "kernels"):
        expected = {f"memscan/{file.relative_to(ROOT).as_posix()}" for file in (ROOT / part).rglob("*.py")}
        assert expected <= names
        assert f"memscan/{part}/py.typed" in names
    assert "memscan/scanner/embedded/MODEL_CARD.md" in names
    shipped = {f"memscan/{file.relative_to(ROOT).as_posix()}" for file in (ROOT / "export").rglob("shipped/**/*.*")}
    assert "memscan/export/checkpoint/shipped/merges.txt" in shipped <= names
    assert "memscan/scanner/embedded/bundle/bundle.json" in names
    assert {
        f"memscan/scanner/report/page/{name}" for name in ("page.html.j2", "card.html.j2", "page.css", "page.js")
    } <= names
    assert "memscan/scanner/embedded/bundle/baseline/weights.bin" in names
    assert not any(name.startswith(("testbed/", "tests/", "benchmarks/")) for name in names)
    embedded = sum(info.file_size for info in ZipFile(wheel).infolist() if "/embedded/" in info.filename)
    assert embedded <= 16 * 2**20


@pytest.mark.parametrize("name", ["build", "cpu", "cuda", "tensorrt"])
def test_a_lock_has_the_versions_that_are_tested_and_a_digest_for_each(name: str) -> None:
    """The container images install these; `locks/compile` makes them anew."""
    tested = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.M))
    tested = {package.lower().replace("_", "-"): version for package, version in tested.items()}
    entries = re.split(r"\n(?=\S)", (ROOT / "locks" / f"{name}.txt").read_text().strip())
    for entry in entries:
        package, version = re.match(r"([\w.-]+)==([\w.]+)", entry).groups()  # type: ignore[union-attr]
        assert "--hash=sha256:" in entry, f"{package} has no digest"
        if name != "build":
            assert tested.get(package, version) == version, f"{package} {version} is not what is tested"
    if name != "build":
        locked = {re.split("[=<> ]", entry)[0] for entry in entries}
        wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        assert {re.split("[=<>]", requirement)[0] for requirement in wanted} <= locked
