"""The attention kernel is compiled for three generations of GPUs, without one, and fits each of them."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

from benchmarks.kernel_registers import Case, Usage, cases, compile_case, fits

ALL = list(cases())
QUICK = [case for case in ALL if case.dtype == torch.float16 and case.attention == "self" and case.head_size == 40]
"""One for each architecture: compiling takes seconds."""


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case in QUICK else pytest.mark.slow) for case in ALL], ids=str
)
def test_the_kernel_fits(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    usage = compile_case(case)
    assert 128 < usage.registers <= 255  # a kernel whose loop was lost would take fewer
    assert fits(case, usage), usage


def test_a_kernel_that_spills_or_takes_too_much_shared_memory_does_not_fit() -> None:
    (ampere, hopper, geforce) = QUICK
    assert fits(ampere, Usage(255, 16, 0, 163))
    assert not fits(hopper, Usage(255, 16, 1, 64))
    assert not fits(geforce, Usage(255, 0, 0, 100))


def test_every_type_and_attention_is_compiled_for_every_architecture() -> None:
    assert {(case.architecture, case.dtype, case.attention) for case in ALL} == {
        (architecture, dtype, attention)
        for architecture in (80, 90, 120)
        for dtype in (torch.float16, torch.bfloat16, torch.float32)
        for attention in ("self", "cross")
    }
