"""`bundle.json` is read strictly: whatever of it cannot be is one line that names the field, never a scan."""

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memscan.scanner.bundle import open_bundle
from memscan.scanner.bundle_parts import Agreement, Certificate
from memscan.scanner.errors import BundleError
from memscan.scanner.schedules import DdpmSchedule, FlowSchedule
from tests.analytic_bundle import write_analytic_bundle

Record = dict[str, Any]
HOSTILE = (
    *(None, True, False, "", "x", "\x1b[2J", "../../etc/passwd", 0, -1, 2.5, 1e300, 10**30, [], {}, [[]], {"a": 1}),
    *([None], [float("nan")], float("nan"), float("inf"), -float("inf"), "9" * 10_000, [0] * 3000, {"x": {"y": [1]}}),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    agreements = tuple(Agreement("shallow", "dh_uncond", timestep, 0.99, 0.75) for timestep in (201, 1))
    certificate = Certificate(3, "ab" * 32, agreements)
    return write_analytic_bundle(tmp_path_factory.mktemp("bundles") / "own", certificate=certificate).path


@pytest.fixture
def record(folder: Path) -> Iterator[Record]:
    """The record of the bundle, which is put back."""
    content = (folder / "bundle.json").read_bytes()
    yield json.loads(content)
    (folder / "bundle.json").write_bytes(content)


def refusal(folder: Path, content: str | Record) -> str:
    (folder / "bundle.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(BundleError) as caught:
        open_bundle(folder, verify=False)
    return str(caught.value)


def changed(*path: str | int, to: Any) -> Callable[[Record], None]:
    def change(record: Record) -> None:
        inner: Any = record
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = to

    return change


def reverse_alphas(record: Record) -> None:
    record["schedule"]["alphas_cumprod"].reverse()


def drop_last_alpha(record: Record) -> None:
    record["schedule"]["alphas_cumprod"].pop()


def drop_exact(record: Record) -> None:
    del record["passes"]["exact"]


ALPHAS, DEFAULTS, TOKENIZER = ("schedule", "alphas_cumprod"), "defaults", ("text", "tokenizers", 0)
AGREEMENT = ("certificate", "agreements", 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("calibrations", 0, "threshold", to=float("nan")), "NaN is no number of JSON"),
        (changed("calibrations", 0, "threshold", to=float("inf")), "Infinity is no number of JSON"),
        (changed("calibrations", 0, "threshold", to=None), "calibrations[0].threshold is None, not a number"),
        (
            changed("calibrations", 0, "threshold", to=7.0),
            "calibrations[0]: threshold is 7.0, not between -1.0 and 2.0",
        ),
        (changed("calibrations", 0, "timestep", to=1000), "calibrations[0].timestep is 1000, not between 0 and 999"),
        (reverse_alphas, "more than 0.00466"),
        (drop_last_alpha, "schedule: alphas_cumprod has 999 values for 1000 training timesteps"),
        (
            changed("schedule", "timestep_spacing", to="karras"),
            "schedule: timestep_spacing is 'karras', not one of leading, linspace, trailing",
        ),
        (changed(*ALPHAS, 5, to=0), "schedule: alphas_cumprod[5] is 0.0, not between 0 and 1"),
        (changed(*ALPHAS, 0, to=1), "schedule: alphas_cumprod[0] is 1.0, not between 0 and 1"),
        (changed(*ALPHAS, 0, to="0.9"), "schedule.alphas_cumprod[0] is '0.9', not a number"),
        (changed(DEFAULTS, "num_inference_steps", to=2.5), "defaults.num_inference_steps is 2.5, not an integer"),
        (changed(DEFAULTS, "num_inference_steps", to=1001), "defaults.num_inference_steps is 1001, not between 1"),
        (changed(DEFAULTS, "num_inference_steps", to=0), "defaults: num_inference_steps is 0, not between 1 and"),
        (changed(DEFAULTS, "guidance_scale", to=-1), "defaults: guidance_scale is -1.0, not between 0.0 and"),
        (changed(DEFAULTS, "guidance_scale", to=True), "defaults.guidance_scale is True, not a number"),
        (changed(DEFAULTS, "timesteps", to=[201.0]), "defaults.timesteps[0] is 201.0, not an integer"),
        (changed(DEFAULTS, "timesteps", to=[-1]), "a timestep of defaults.timesteps is -1, not between 0 and 999"),
        (changed(DEFAULTS, "timesteps", to=[]), "the list of defaults.timesteps is empty"),
        (changed(DEFAULTS, "probes", "kind", to="walsh"), "defaults.probes.kind is 'walsh', not one of 'hadamard',"),
        (changed(DEFAULTS, "probes", "count", to=0), "defaults: probes.count is 0, not between 1 and 4096"),
        (
            changed(DEFAULTS, "sampler", to="heun"),
            "defaults.sampler is 'heun', not one of 'ddim', 'dpmsolver++', 'euler'",
        ),
        (changed(*TOKENIZER, "pad_token_id", to=-1), "text.tokenizers[0]: pad_token_id is -1, not between 0 and"),
        (changed(*TOKENIZER, "max_length", to=0), "text.tokenizers[0]: max_length is 0, not between 1 and 65536"),
        (changed("text", "tokenizers", to=[]), "text: the list of tokenizers is empty"),
        (changed("latent_shape", to=[4, 8, 0]), "latent_shape[2] is 0, not between 1 and 16384"),
        (changed("latent_shape", to=[4, 8]), "latent_shape has 2 entries, not 3"),
        (changed("image_size", to=[33, 32]), "image_size[0] is 33, no multiple of the latent's 8"),
        (changed("tangents_per_call", to=0), "tangents_per_call is 0, not between 1 and 1024"),
        (changed("prediction_type", to="sample"), "prediction_type is 'sample', not one of 'epsilon', 'v_prediction'"),
        (changed("dtypes", "compute", to="int8"), "dtypes.compute is 'int8', not one of 'float32', 'float16',"),
        (changed("graphs", "step.onnx", to={"noise": []}), "graphs.step.onnx is 'noise', not one of 'eps',"),
        (changed("graphs", "step.onnx", to={"eps": ["all"]}), "graphs.step.onnx.eps[0] is 'all', not one of 'prompt',"),
        (changed("files", "step.onnx", to="0"), "the digest of 'step.onnx' is '0', not a SHA-256"),
        (changed("model", "digest", to=""), "model: digest is '', not a SHA-256"),
        (changed("baseline", to=False), "baseline is False, not an object"),
        (changed("baseline", "text_encoder", to=0), "baseline.text_encoder is 0, not true or false"),
        (drop_exact, "passes.exact is missing"),
        (changed("passes", to=[1.0]), "passes is [1.0], not an object"),
        (changed("passes", "deep", to=2.0), "passes is 'deep', not one of 'exact', 'frozen', 'shallow'"),
        (changed("passes", "shallow", to=0.5), "passes.shallow is 0.5, not between 1.0 and 1000000.0"),
        (changed("passes", "exact", to=float("inf")), "Infinity is no number of JSON"),
        (changed("passes", "exact", to="10"), "passes.exact is '10', not a number"),
        (
            changed("passes", to={"exact": 10.2}),
            "certificate.agreements[0].derivative is 'shallow', which is not in passes",
        ),
        (changed(DEFAULTS, "derivative", to="full"), "defaults.derivative is 'full', not one of 'exact', 'frozen',"),
        (changed(DEFAULTS, "derivative", to="frozen"), "defaults.derivative is 'frozen', which is not in passes"),
        (changed(DEFAULTS, "mask_map", to="dh"), "defaults: mask_map is 'dh', not one of dh_uncond, dh_base,"),
        (
            changed("calibrations", 2, "derivative", to="frozen"),
            "calibrations[2].derivative is 'frozen', which is not in passes",
        ),
        (changed("calibrations", 0, "map", to=""), "calibrations[0]: map is '', not one of dh_uncond, dh_base,"),
        (changed("certificate", to={}), "certificate.prompts is missing"),
        (changed("certificate", "prompts", to=0), "certificate: prompts is 0, not between 1 and"),
        (changed("certificate", "prompts_digest", to="ab"), "certificate: prompts_digest is 'ab', not a SHA-256"),
        (
            changed(*AGREEMENT, "correlation", to=1.01),
            "certificate.agreements[1]: correlation is 1.01, not between -1.0 and 1.0",
        ),
        (changed(*AGREEMENT, "scale", to=float("nan")), "NaN is no number of JSON"),
        (changed(*AGREEMENT, "map", to="dh"), "certificate.agreements[1]: map is 'dh', not one of dh_uncond,"),
        (changed(*AGREEMENT, "timestep", to=1000), "certificate.agreements[1].timestep is 1000, not between 0 and 999"),
        (changed(*AGREEMENT, "derivative", to="full"), "certificate.agreements[1].derivative is 'full', not one of"),
        (
            changed(*AGREEMENT, "timestep", to=201),
            "certificate: agreements[1] repeats shallow, dh_uncond, timestep 201",
        ),
        (changed("notes", to="hello"), "notes is not known"),
    ],
)
def test_what_cannot_be_is_named(folder: Path, record: Record, change: Callable[[Record], None], message: str) -> None:
    change(record)
    said = refusal(folder, record)
    assert said.startswith(f"{folder / 'bundle.json'}: ")
    assert message in said
    assert said.endswith(": export the model again")
    assert "\n" not in said


def test_a_table_may_begin_at_pure_noise_where_v_is_predicted(folder: Path, record: Record) -> None:
    record["schedule"]["alphas_cumprod"][-1] = 0
    record["prediction_type"] = "v_prediction"
    (folder / "bundle.json").write_text(json.dumps(record))
    schedule = open_bundle(folder, verify=False).schedule
    assert isinstance(schedule, DdpmSchedule)
    assert schedule.alphas_cumprod[-1] == 0


FLOW: Record = {"kind": "flow_matching", "num_train_timesteps": 1000, "shift": 3.0, "sigma_min": None}


def test_flow_matching_comes_back_from_the_record(folder: Path, record: Record) -> None:
    record |= {"schedule": FLOW, "prediction_type": "flow_prediction"}
    record["defaults"]["sampler"] = "euler"
    (folder / "bundle.json").write_text(json.dumps(record))
    assert open_bundle(folder, verify=False).schedule == FlowSchedule(1000, 3.0, None)


@pytest.mark.parametrize(
    ("schedule", "prediction_type", "version", "message"),
    [
        (FLOW, "epsilon", 6, "a schedule of flow matching with epsilon in format 6: pure noise has no denoised"),
        (FLOW, "flow_prediction", 5, "a schedule of flow matching with flow_prediction in format 5"),
        ({"alphas_cumprod": 0}, "epsilon", 6, "a schedule of zero terminal SNR with epsilon in format 6"),
        ({"alphas_cumprod": 0}, "v_prediction", 5, "a schedule of zero terminal SNR with v_prediction in format 5"),
        (FLOW | {"shift": 0}, "flow_prediction", 6, "schedule: shift is 0.0, not between 0.0001 and 10000.0"),
        (FLOW | {"sigma_min": 1.0}, "flow_prediction", 6, "schedule: sigma_min is 1.0, not between 0 and 1"),
        (FLOW | {"kind": "cosine"}, "flow_prediction", 6, "schedule.kind is 'cosine', not one of 'ddpm',"),
        (FLOW | {"timestep_spacing": "leading"}, "flow_prediction", 6, "schedule.timestep_spacing is not known"),
    ],
)
def test_a_schedule_that_cannot_be_sampled_is_named(
    folder: Path, record: Record, schedule: Record, prediction_type: str, version: int, message: str
) -> None:
    if "kind" in schedule:
        record["schedule"] = schedule
    else:
        record["schedule"]["alphas_cumprod"][-1] = schedule["alphas_cumprod"]
    record |= {"prediction_type": prediction_type, "format_version": version}
    assert message in refusal(folder, record)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", "{", "\ufeff{}", "[" * 10_000, '{"format_version": true}', '{"model": "\\ud800"}', "1" * 5000],
)
def test_what_is_no_record_is_refused(folder: Path, record: Record, content: str) -> None:
    assert refusal(folder, content).endswith(": export the model again")


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths to all values in a record, of a long list to the ends alone."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        if not isinstance(value, list) or key in (0, len(value) - 1):
            yield from places(one, (*path, key))


def test_every_value_of_a_record_can_be_anything_without_a_traceback(folder: Path, record: Record) -> None:
    """Each place is given three hostile values; what is still read is of the type that was there, or may be missing."""
    draw, refused = random.Random(0), 0
    for path in places(record):
        for value in draw.sample(HOSTILE, 3):
            mutant = copy.deepcopy(record)
            changed(*path, to=value)(mutant)
            (folder / "bundle.json").write_text(json.dumps(mutant))
            try:
                open_bundle(folder, verify=False)
            except BundleError as error:
                refused += 1
                assert re.fullmatch(r"[^\n]{1,300}", str(error).replace(str(folder), "")), path
            else:
                old = value_at(record, path)
                assert None in (value, old) or type(value) is type(old) or {type(value), type(old)} == {int, float}, (
                    path
                )
    assert refused > 200


def value_at(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        value = value[step]
    return value
