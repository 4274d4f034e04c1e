"""How far a build is, from the phases that TensorRT reports."""

import pytest

from memscan.scanner.runtimes.tensorrt.progress import LogLines, Phases


def test_inner_phases_fill_the_current_step_of_the_outer_one() -> None:
    phases = Phases()
    shares = []
    phases.start("build", None, 4)
    phases.step("build", 0)
    shares.append(phases.share)
    phases.start("optimize", "build", 2)
    phases.step("optimize", 0)
    shares.append(phases.share)
    phases.start("time", "optimize", 5)
    phases.step("time", 0)
    shares.append(phases.share)
    assert phases.current == "time"
    phases.finish("time")
    phases.step("optimize", 1)
    phases.finish("optimize")
    phases.step("build", 1)
    shares.append(phases.share)
    assert phases.current == "build"
    assert shares == pytest.approx([1 / 4, 1 / 4 + 1 / 8, 1 / 4 + 1 / 8 + 1 / 40, 2 / 4])


def test_a_phase_that_was_never_finished_ends_with_its_successor() -> None:
    phases = Phases()
    phases.start("build", None, 2)
    phases.start("first", "build", 2)
    phases.start("second", "build", 2)
    assert phases.current == "second"
    phases.finish("second")
    assert phases.current == "build"


def test_a_finished_phase_takes_no_more_steps() -> None:
    phases = Phases()
    phases.step("unknown", 3)
    assert (phases.share, phases.current) == (0.0, "")


def test_a_log_has_a_line_every_half_minute() -> None:
    times = iter([0.0, 10.0, 31.0, 60.0, 61.0])
    written: list[str] = []
    lines = LogLines("step.onnx", written.append, lambda: next(times))
    for share in (0.1, 0.25, 0.5, 0.6):
        lines(share, "Timing tactics")
    assert written == [
        "building step.onnx: 25% (Timing tactics)",
        "building step.onnx: 60% (Timing tactics)",
    ]
