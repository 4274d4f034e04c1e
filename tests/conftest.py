"""Fixtures that several folders of tests share: tiny pipelines and their exported bundle, made once a session."""

import functools
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
from filelock import FileLock

from memscan.scanner.cli import invoke
from memscan.scanner.telemetry import forbid_telemetry
from tests.tiny_pipeline import save_pipeline


def pytest_configure(config: pytest.Config) -> None:
    """What the tests start inherits this: no telemetry, SIGINT heeded, also after `make test &`, and a worker's cores.

    Engines take as many threads as they find cores, and wait for them in a loop: workers would be in each other's way.
    """
    forbid_telemetry()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    worker = getattr(config, "workerinput", None)
    if worker and hasattr(os, "sched_setaffinity"):
        own = sorted(os.sched_getaffinity(0))[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]
        os.sched_setaffinity(0, own)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mutations", type=int, help="how many mutated files of a form the readers are tried on")


@pytest.fixture
def longer(request: pytest.FixtureRequest) -> int | None:
    """What --mutations says."""
    number: int | None = request.config.getoption("--mutations")
    return number


Made = Callable[[str, Callable[[Path], object]], Path]
"""The folder of a name, and what fills it if no worker has yet."""


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Made:
    """Gives a folder by its name: the first worker that asks for it fills it, and the others wait for that one."""
    parallel = hasattr(request.config, "workerinput")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent / "shared" if parallel else base / "shared"
    shared.mkdir(exist_ok=True)

    def folder(name: str, fill: Callable[[Path], object]) -> Path:
        made = shared / f"{name}.made"
        with FileLock(shared / f"{name}.lock"):
            if not made.exists():
                shutil.rmtree(shared / name, ignore_errors=True)  # what a worker left behind that failed
                (shared / name).mkdir()
                fill(shared / name)
                made.touch()
        return shared / name

    return folder


@pytest.fixture(scope="session")
def tiny_pipeline(made_once: Made) -> Path:
    """A random SD 1-like pipeline, predicting eps."""
    return made_once("tiny-sd1", save_pipeline)


@pytest.fixture(scope="session")
def tiny_baseline(made_once: Made) -> Path:
    """Another checkpoint of the same architecture and tokenizer."""
    return made_once("tiny-sd1-early", functools.partial(save_pipeline, seed=1))


@pytest.fixture(scope="session")
def tiny_xl_pipeline(made_once: Made) -> Path:
    """A random SDXL-like pipeline, predicting eps."""
    return made_once("tiny-sdxl", functools.partial(save_pipeline, family="sdxl"))


@pytest.fixture(scope="session")
def tiny_sd3_pipeline(made_once: Made) -> Path:
    """A random pipeline like Stable Diffusion 3.5's."""
    return made_once("tiny-sd3", _save_sd3)


@pytest.fixture(scope="session")
def tiny_sd3_without_t5(made_once: Made) -> Path:
    """Another, without T5."""
    return made_once("tiny-sd3-without-t5", functools.partial(_save_sd3, t5=False))


@pytest.fixture(scope="session")
def tiny_flux_pipeline(made_once: Made) -> Path:
    """A random pipeline like FLUX.1-dev's."""
    return made_once("tiny-flux", _save_flux)


@dataclass(frozen=True)
class Exported:
    """A bundle and what the command printed while it made it."""

    path: Path
    printed: str


@pytest.fixture(scope="session")
def tiny_export(tiny_pipeline: Path, tiny_baseline: Path, made_once: Made) -> Exported:
    """`memscan export` of `tiny_pipeline` with `tiny_baseline`, four tangents a call."""
    options = "--baseline", str(tiny_baseline)
    folder = made_once("tiny", functools.partial(_export, tiny_pipeline, options=options))
    return Exported(folder / "tiny.bundle", (folder / "printed").read_text())


@pytest.fixture(scope="session")
def tiny_bundle(tiny_export: Exported) -> Path:
    """The bundle of `tiny_export`."""
    return tiny_export.path


@pytest.fixture(scope="session")
def tiny_xl_bundle(tiny_xl_pipeline: Path, made_once: Made) -> Path:
    """`memscan export` of `tiny_xl_pipeline`, four tangents a call."""
    return made_once("tiny-xl", functools.partial(_export, tiny_xl_pipeline)) / "tiny.bundle"


@pytest.fixture(scope="session")
def tiny_sd3_export(tiny_sd3_pipeline: Path, made_once: Made) -> Exported:
    """`memscan export` of `tiny_sd3_pipeline`, four tangents a call."""
    folder = made_once("tiny-sd3-export", functools.partial(_export, tiny_sd3_pipeline))
    return Exported(folder / "tiny.bundle", (folder / "printed").read_text())


def _save_sd3(folder: Path, *, t5: bool = True) -> None:
    from tests.tiny_transformers import save_sd3  # loads what no other pipeline needs

    save_sd3(folder, t5=t5)


@pytest.fixture(scope="session")
def tiny_flux_export(tiny_flux_pipeline: Path, made_once: Made) -> Exported:
    """`memscan export` of `tiny_flux_pipeline` for images of 32 x 32, four tangents a call."""
    size = "--height", "32", "--width", "32"
    folder = made_once("tiny-flux-export", functools.partial(_export, tiny_flux_pipeline, options=size))
    return Exported(folder / "tiny.bundle", (folder / "printed").read_text())


def _save_flux(folder: Path) -> None:
    from tests.tiny_transformers import save_flux  # loads what no other pipeline needs

    save_flux(folder)


def _export(pipeline: Path, folder: Path, options: tuple[str, ...] = ()) -> None:
    with redirect_stdout(StringIO()) as printed:
        assert (
            invoke(["export", str(pipeline), str(folder / "tiny.bundle"), "--tangents", "4", "--no-certify", *options])
            == 0
        )
    (folder / "printed").write_text(printed.getvalue())
