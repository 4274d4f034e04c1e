"""Files of a bundle: what is not its own, listed and regular is refused in one line before anything opens it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, numpy_helper

from memscan.scanner.bundle import file_digest, open_bundle
from memscan.scanner.bundle_files import is_inside
from memscan.scanner.cli import invoke
from memscan.scanner.embedded import BUNDLE
from memscan.scanner.errors import BundleError
from tests.analytic_bundle import write_analytic_bundle

VALUES = np.arange(6, dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The analytic bundle, of which measure.onnx has a tensor in weights.bin."""
    path = write_analytic_bundle(tmp_path / "bundle").path
    (path / "weights.bin").write_bytes(VALUES.tobytes())
    tensor_in(path, "measure.onnx", "weights.bin")
    relist(path, "weights.bin", "measure.onnx")
    open_bundle(path)
    return path


def tensor_in(folder: Path, graph: str, location: str) -> None:
    """Have a graph say that a tensor's values lie in another file."""
    model = onnx.load(folder / graph, load_external_data=False)
    tensor = numpy_helper.from_array(VALUES, "outside")
    external_data_helper.set_external_data(tensor, location, offset=0, length=VALUES.nbytes)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    others = [one for one in model.graph.initializer if one.name != tensor.name]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*others, tensor])
    (folder / graph).write_bytes(model.SerializeToString())


def relist(folder: Path, *names: str, without: str | None = None) -> None:
    """Record the digests of files as they are."""
    record = json.loads((folder / "bundle.json").read_text())
    record["files"] |= {name: file_digest(folder / name) for name in names}
    record["files"].pop(without, None)
    (folder / "bundle.json").write_text(json.dumps(record))


def outside(folder: Path) -> Path:
    """A file beside the bundle with the very content of its weights."""
    file = folder.parent / "secret.bin"
    file.write_bytes(VALUES.tobytes())
    return file


def absolute(folder: Path) -> None:
    tensor_in(folder, "measure.onnx", str(outside(folder)))
    relist(folder, "measure.onnx")


def upwards(folder: Path) -> None:
    outside(folder)
    tensor_in(folder, "measure.onnx", "../secret.bin")
    relist(folder, "measure.onnx")


def up_and_back(folder: Path) -> None:
    tensor_in(folder, "measure.onnx", "baseline/../weights.bin")
    relist(folder, "measure.onnx")


def backslash(folder: Path) -> None:
    tensor_in(folder, "measure.onnx", "..\\secret.bin")
    relist(folder, "measure.onnx")


def in_memory(folder: Path) -> None:
    """How ONNX Runtime marks tensors that lie at an address of its own memory."""
    tensor_in(folder, "measure.onnx", "*/_ORT_MEM_ADDR_/*")
    relist(folder, "measure.onnx")


def unlisted(folder: Path) -> None:
    (folder / "more.bin").write_bytes(VALUES.tobytes())
    tensor_in(folder, "measure.onnx", "more.bin")
    relist(folder, "measure.onnx")


def unlisted_beside_the_baseline(folder: Path) -> None:
    """A path starts at the folder of its graph: the listed weights.bin is another one's."""
    (folder / "baseline" / "weights.bin").write_bytes(VALUES.tobytes())
    tensor_in(folder, "baseline/measure.onnx", "weights.bin")
    relist(folder, "baseline/measure.onnx")


def linked_file(folder: Path) -> None:
    (folder / "weights.bin").unlink()
    (folder / "weights.bin").symlink_to(outside(folder))


def linked_folder(folder: Path) -> None:
    (folder / "baseline").rename(folder.parent / "elsewhere")
    (folder / "baseline").symlink_to("../elsewhere")


def linked_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder.parent / "tokenizer.json")
    (folder / "tokenizer.json").symlink_to("../tokenizer.json")


def linked_record(folder: Path) -> None:
    (folder / "bundle.json").rename(folder.parent / "record.json")
    (folder / "bundle.json").symlink_to("../record.json")


def link_to_itself(folder: Path) -> None:
    (folder / "weights.bin").unlink()
    (folder / "weights.bin").symlink_to("weights.bin")


def hard_link(folder: Path) -> None:
    (folder / "weights.bin").unlink()
    os.link(outside(folder), folder / "weights.bin")


def hard_linked_tokenizer(folder: Path) -> None:
    os.link(folder / "tokenizer.json", folder.parent / "same.json")


def pipe(folder: Path) -> None:
    (folder / "weights.bin").unlink()
    os.mkfifo(folder / "weights.bin")


def device(folder: Path) -> None:
    (folder / "weights.bin").unlink()
    (folder / "weights.bin").symlink_to("/dev/zero")


def a_folder(folder: Path) -> None:
    (folder / "weights.bin").unlink()
    (folder / "weights.bin").mkdir()


def no_graph(folder: Path) -> None:
    (folder / "step.onnx").write_bytes(b"\xff" * 100)
    relist(folder, "step.onnx")


def without_step(folder: Path) -> None:
    relist(folder, without="step.onnx")


def listed_outside(folder: Path) -> None:
    record = json.loads((folder / "bundle.json").read_text())
    record["files"]["../secret.bin"] = file_digest(outside(folder))
    (folder / "bundle.json").write_text(json.dumps(record))


@pytest.mark.parametrize("verify", [True, False], ids=["verified", "not-verified"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (absolute, r"measure.onnx has tensors in '/.*/secret.bin', outside the bundle; do not trust this bundle"),
        (upwards, r"measure.onnx has tensors in '../secret.bin', outside the bundle; do not trust this bundle"),
        (up_and_back, r"measure.onnx has tensors in 'baseline/../weights.bin', outside the bundle; do not trust"),
        (backslash, r"measure.onnx has tensors in '..\\\\secret.bin', outside the bundle; do not trust this bundle"),
        (in_memory, r"measure.onnx has tensors in \*/_ORT_MEM_ADDR_/\*, which bundle.json does not list; do not"),
        (unlisted, r"measure.onnx has tensors in more.bin, which bundle.json does not list; do not trust this bundle"),
        (unlisted_beside_the_baseline, r"baseline/measure.onnx has tensors in baseline/weights.bin, which bundle.json"),
        (linked_file, r"weights.bin is a link that leads out of the bundle; do not trust this bundle, or copy it"),
        (linked_folder, r"baseline/measure.onnx is a link that leads out of the bundle; do not trust this bundle"),
        (linked_tokenizer, r"tokenizer.json is a link that leads out of the bundle; do not trust this bundle"),
        (linked_record, r"bundle.json is a link that leads out of the bundle; do not trust this bundle"),
        (link_to_itself, r"weights.bin cannot be opened \(.*\): export the model again$"),
        (hard_link, r"weights.bin is hard-linked to a file elsewhere: copy the bundle with cp -rL$"),
        (hard_linked_tokenizer, r"tokenizer.json is hard-linked to a file elsewhere: copy the bundle with cp -rL$"),
        (pipe, r"weights.bin is no regular file: export the model again$"),
        (device, r"weights.bin is a link that leads out of the bundle; do not trust this bundle"),
        (a_folder, r"weights.bin is no regular file: export the model again$"),
        (no_graph, r"step.onnx is no graph \(.*\): export the model again$"),
        (without_step, r"is incomplete: it has no step.onnx; export the model again$"),
        (listed_outside, r"bundle.json names '../secret.bin', outside the bundle; do not trust this bundle$"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_not_the_bundles_own_is_refused(
    folder: Path, change: Callable[[Path], None], message: str, verify: bool
) -> None:
    change(folder)
    with pytest.raises(BundleError, match=f"^[^\n]*{message}[^\n]*$"):
        open_bundle(folder, verify=verify)


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_no_engine_sees_a_bundle_that_is_refused(
    folder: Path, engine: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pipe(folder)
    command = ["run", "--prompt", "a mug", "--model", str(folder), "--no-verify", "--engine", engine]
    assert invoke([*command, "--out", str(tmp_path / "out")]) == 2
    assert "weights.bin is no regular file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_folder_itself_may_be_a_link_and_so_may_what_stays_inside(folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    (folder / "weights.bin").rename(folder / "data")
    (folder / "weights.bin").symlink_to("data")
    assert open_bundle(folder.parent / "link").files["weights.bin"] == file_digest(folder / "data")


def test_the_embedded_bundle_may_have_been_linked_by_an_installer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hard_linked_tokenizer(folder)
    monkeypatch.setattr("memscan.scanner.bundle_files.BUNDLE", folder)
    assert open_bundle(folder).path == folder


@pytest.mark.parametrize("name", ["weights.bin", "baseline/measure.onnx", "a b..c"])
def test_plain_names_are_inside(name: str) -> None:
    assert is_inside(name)


@pytest.mark.parametrize(
    "name", ["", ".", "/", "/a", "a/", "a//b", "./a", "..", "../a", "a/../b", "a\\b", "a\nb", "\0"]
)
def test_other_names_are_not(name: str) -> None:
    assert not is_inside(name)


def test_graphs_of_the_embedded_bundle_are_read_through(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr("memscan.scanner.bundle_files.external_files", lambda file: seen.append(file.name) or set())
    bundle = open_bundle(BUNDLE, verify=False)
    assert sorted(seen) == sorted(name.rpartition("/")[2] for name in bundle.files if name.endswith(".onnx"))
