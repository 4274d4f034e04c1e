"""What the doctor finds on machines that are described here."""

import ctypes
import json
from typing import Any

import pytest

from memscan.scanner.cli import invoke
from memscan.scanner.health import doctor
from memscan.scanner.health.doctor import Finding, examine
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime

WANTS = [
    "numpy>=1.21.6",
    'nvidia-cuda-runtime-cu12~=12.0; extra == "cuda"',
    'nvidia-cublas-cu12; extra == "cuda"',
    'nvidia-cudnn-cu12~=9.0; extra == "cudnn"',
]
WANTS_13 = [
    'nvidia-cuda-runtime~=13.0; extra == "cuda"',
    'nvidia-cublas~=13.0; extra == "cuda"',
    'nvidia-cudnn-cu13~=9.0; extra == "cudnn"',
]


class Library:
    """A library that answers with CUDA 13.2 and cuDNN 9.10.2."""

    def __init__(self, failed: int = 0) -> None:
        def version(number: Any) -> int:
            ctypes.cast(number, ctypes.POINTER(ctypes.c_int))[0] = 13020
            return failed

        def cudnn() -> int:
            return 91002

        self.cuDriverGetVersion = self.cudaRuntimeGetVersion = version
        self.cudnnGetVersion = cudnn


def found(
    monkeypatch: pytest.MonkeyPatch,
    packages: dict[str, str],
    libraries: dict[str, Library],
    wants: list[str] = WANTS,
) -> dict[str, Finding]:
    """Findings by what they are of, with these packages and libraries."""

    def load(name: str) -> Library:
        if name not in libraries:
            raise OSError(f"{name}: cannot open shared object file")
        return libraries[name]

    monkeypatch.setattr(doctor, "installed_version", packages.get)
    monkeypatch.setattr(doctor, "is_installed", packages.__contains__)
    monkeypatch.setattr(doctor, "requires", lambda package: wants if package in packages else None)
    return {finding.what: finding for finding in examine(load)}


def test_a_machine_without_a_gpu_lacks_but_is_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = found(monkeypatch, {"memscan": "1.0", "onnxruntime": "1.24"}, {})
    assert {what: finding.state for what, finding in findings.items()} == {
        "memscan": "ok",
        "cores": "ok",
        "ONNX Runtime": "ok",
        "NVIDIA driver": "missing",
        "TensorRT": "missing",
        "TensorRT-RTX": "missing",
    }
    assert findings["TensorRT"].advice == "pip install memscan[tensorrt]"


def test_two_onnxruntimes_hide_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    findings = found(monkeypatch, {"onnxruntime": "1.24", "onnxruntime-gpu": "1.25"}, {})
    assert findings["packages"].said == (
        "onnxruntime 1.24 and onnxruntime-gpu 1.25 are in one environment, and hide each other"
    )
    assert findings["packages"].state == findings["ONNX Runtime"].state == "broken"
    assert findings["packages"].advice.startswith("pip uninstall -y onnxruntime onnxruntime-gpu; then")


def test_libraries_are_those_that_the_wheel_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = found(monkeypatch, {"onnxruntime-gpu": "1.25"}, {"libcudnn.so.9": Library()})
    assert findings["CUDA runtime"].said == "onnxruntime-gpu wants libcudart.so.12, which is not there"
    assert findings["cuBLAS"].state == "missing"
    assert findings["cuDNN"] == Finding("cuDNN", "ok", "9.10.2")
    there = {"onnxruntime-gpu": "1.25", "nvidia-cuda-runtime-cu12": "12.9"}
    assert found(monkeypatch, there, {})["CUDA runtime"].said.startswith("nvidia-cuda-runtime-cu12 12.9")
    newer = found(monkeypatch, {"onnxruntime-gpu": "1.30"}, {"libcudart.so.13": Library()}, WANTS_13)
    assert newer["CUDA runtime"] == Finding("CUDA runtime", "ok", "13.2")
    assert newer["cuBLAS"].said == "onnxruntime-gpu wants libcublas.so.13, which is not there"


def test_driver_says_its_version_or_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    there = found(monkeypatch, {}, {"libcuda.so.1": Library()})
    assert there["NVIDIA driver"].said == "for CUDA 13.2 and older"
    failing = found(monkeypatch, {}, {"libcuda.so.1": Library(failed=803)})
    assert (failing["NVIDIA driver"].state, failing["NVIDIA driver"].said) == ("broken", "it answers with error 803")


@pytest.mark.parametrize("state", ["missing", "broken"])
def test_exit_code_is_that_of_what_is_broken(
    state: doctor.State, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finding = Finding("cuDNN", state, "it is not well", "mend it")
    monkeypatch.setattr(doctor, "examine", lambda: [finding])
    code = 1 if state == "broken" else 0
    assert invoke(["doctor"]) == code
    assert capsys.readouterr().out == f"{state:<8} cuDNN          it is not well: mend it\n"
    assert invoke(["doctor", "--json"]) == code
    assert json.loads(capsys.readouterr().out) == [finding._asdict()]
