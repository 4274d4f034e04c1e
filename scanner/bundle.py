"""A bundle: the folder that holds everything a scan needs of a model, described by `bundle.json`.

    bundle.json tokenizer.json (of a second text encoder tokenizer_2.json, and so on)
    text_encoder.onnx   input_ids [N, S] int64 (and input_ids_2, ...) -> encodings [N, ...] under the names of the
                        denoiser's inputs: encoder_hidden_states [N, S, D]; SDXL: text_embeds [N, P] too;
                        where no prompt is encoded otherwise than a prompt, uncond_encoder_hidden_states
    step.onnx           one guided solver step, with eps given the prompt and given none
    measure.onnx        eps and v * (J v), summed over Kg tangents, in operators that every runtime has
    measure.*.onnx      the same by a cheaper kind of derivative: measure.frozen.onnx, measure.shallow.onnx
    observe.onnx        what the denoiser attends to in the text, and the activation of its bottleneck
    condition.onnx      eps and its derivative with respect to the text, times the text's difference from none
    *.sliced.onnx       graphs of the denoiser with attention in slices, for CPUs, where it is large
    vae_decoder.onnx    latents [N, C, h, w] -> image [N, 3, H, W] in [-1, 1], the latent scaling included
    vae_encoder.onnx    image [N, 3, H, W] -> latents [N, C, h, w] (posterior mode, scaled)
    weights.bin         the denoiser's weights, shared by its graphs
    baseline/           measuring graphs and weights.bin of the less-trained checkpoint; its text encoder if it differs

Inputs and outputs of all graphs but token ids are float32, and they predict eps whatever the checkpoint predicted. A
denoiser's graphs take a noise level as timestep, alpha and sigma, [N] each, x_t = alpha x_0 + sigma noise: which levels
there are is the scanner's to know (`schedules.py`), and `timestep` is what the denoiser is told. The step makes the
denoised estimate d of what the network itself predicts, without a division by alpha but for eps, and the update

    x' = a x + b eps + c d_previous + d d

takes it as it is, so that a path of v or of flow matching may begin at pure noise, alpha = 0. The digest of a bundle is
that of its `bundle.json`, which holds the digests of all other files.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from memscan.scanner import graph_names
from memscan.scanner.bundle_files import check_file, check_tensors
from memscan.scanner.bundle_parts import (
    NOTHING_MORE,
    AddedAdapter,
    AddedEmbedding,
    Calibration,
    Certificate,
    Defaults,
    Dtypes,
    Takes,
    Text,
    check_digest,
)
from memscan.scanner.errors import BundleError
from memscan.scanner.records import RecordError, check_range, parse_json, read_record, shown
from memscan.scanner.schedules import DdpmSchedule, FlowSchedule, Schedule
from memscan.scanner.settings import DERIVATIVES, Derivative
from memscan.scanner.terminal import listed

FORMAT_VERSION = 6
READ_VERSIONS = (4, 5, 6)
"""Format 5 is format 6 without the input `d` of `step.onnx` and with one kind of schedule, format 4 is format 5 without
`observe.onnx` and `condition.onnx`."""

Prediction = Literal["epsilon", "v_prediction", "flow_prediction"]
"""What a checkpoint was trained to predict; see `memscan.export.checkpoint.prediction`."""
PREDICTIONS: tuple[Prediction, ...] = get_args(Prediction)

Quantity = Literal[
    "eps",
    "diagonal",
    "denoised",
    "state",
    "next_state",
    "product",
    "last_token_attention",
    "token_attention",
    "bottleneck",
    "condition_product",
]
"""`diagonal` is the estimate of diag(d eps / d x); `denoised` and the states are those of a guided step.

Of `observe.onnx`: cross-attention to the last token, a map [N, 1, h, w]; to each token, [N, S]; and the activation of
the bottleneck, [N, C, h', w']. Of `condition.onnx`: the derivative of eps with respect to the text, times its
difference from no text. All else is [N, C, h, w]."""

Condition = Literal["prompt", "none", "baseline", "padded"]
"""The prompt, no prompt, the prompt as the less-trained checkpoint answers it, and the prompt whose padding has the
encodings of no prompt: it is asked of the graphs that answer the prompt."""

Gives = Mapping[Quantity, tuple[Condition, ...]]
"""What a graph can be asked for: quantity -> given the prompt, given none, or of the baseline given the prompt."""


_MOST_TANGENTS = 1024
_MOST_CHANNELS, _LONGEST_SIDE = 1024, 1 << 14
_MOST_PASSES = 1e6

_LARGEST_RECORD = 64 << 20


@dataclasses.dataclass(frozen=True)
class Bundle:
    """An opened bundle whose `bundle.json` was read and whose files were found; see `open_bundle`.

    `graphs` has every graph but the sliced variants, and what each gives; `files` every file's SHA-256. `passes` has
    the kinds of derivative that the bundle offers, and of each how many forward passes of the denoiser one call of its
    measuring graph costs, by the count of floating-point operations; `certificate` says how well the cheaper ones agree
    with the exact one, where that was measured. `adapters` and `embeddings` are those that the model's weights hold.
    """

    path: Path
    digest: str
    format_version: int
    model_id: str
    model_digest: str
    prediction_type: Prediction
    latent_shape: tuple[int, int, int]
    image_size: tuple[int, int]
    schedule: Schedule
    text: Text
    tangents_per_call: int
    passes: Mapping[Derivative, float]
    certificate: Certificate | None
    defaults: Defaults
    calibrations: tuple[Calibration, ...]
    baseline_id: str | None
    baseline_digest: str | None
    baseline_has_text_encoder: bool
    dtypes: Dtypes
    graphs: Mapping[str, Gives]
    files: dict[str, str]
    adapters: tuple[AddedAdapter, ...] = ()
    embeddings: tuple[AddedEmbedding, ...] = ()
    takes: Takes = NOTHING_MORE

    @property
    def has_baseline(self) -> bool:
        return self.baseline_id is not None

    @property
    def derivatives(self) -> tuple[Derivative, ...]:
        """The kinds of derivative that there are, cheapest first."""
        return tuple(kind for kind in DERIVATIVES if kind in self.passes)

    @property
    def steps_by_denoised(self) -> bool:
        """Whether the update of a guided step may take the denoised estimate that it computes."""
        return self.format_version >= 6

    @property
    def condition_passes(self) -> float:
        """Forward passes of the derivative with respect to the text: one, and a tangent's share of an exact call."""
        return 1 + (self.passes["exact"] - 1) / self.tangents_per_call

    def gives(self, quantity: Quantity, of: Condition) -> tuple[str, ...]:
        """The graphs that can be asked for a quantity, in the order of `bundle.json`; none where there is no such one.

        Every graph that gives a diagonal of a condition gives its eps as well.
        """
        return tuple(name for name, given in self.graphs.items() if of in given.get(quantity, ()))

    def is_unguided(self, guidance_scale: float) -> bool:
        """Whether the sampler's steps need the prompt alone, and there is a graph of such steps.

        Args:
            guidance_scale: that of the run; less than 1 is none, as in diffusers.
        """
        return self.takes.sampling_guidance(guidance_scale) <= 1 and graph_names.UNGUIDED in self.graphs

    def file(self, name: str) -> Path:
        """Path of a file by its name in the bundle, e.g. `"baseline/measure.onnx"`."""
        return self.path / name


def open_bundle(path: Path, *, verify: bool = True) -> Bundle:
    """Read and check the bundle at `path`.

    Args:
        verify: compare the SHA-256 of every file with the one recorded at export.

    Raises:
        BundleError: no such folder, no or malformed `bundle.json`, another format version, a missing or altered file.
    """
    if not path.is_dir():
        raise BundleError(f"no bundle at {path}: make one with `memscan export MODEL {path}`")
    manifest = path / graph_names.RECORD
    if not manifest.is_file():
        raise BundleError(f"{path} is not a bundle: it has no {graph_names.RECORD}; make one with `memscan export`")
    check_file(path, graph_names.RECORD)
    raw = _read_whole(manifest)
    try:
        value = parse_json(raw)
        version = value.get("format_version") if isinstance(value, dict) else None
        if version not in READ_VERSIONS or isinstance(version, bool):
            found = f"bundle format {shown(version)}, this memscan reads {READ_VERSIONS[0]} to {FORMAT_VERSION}"
            raise BundleError(f"{path} has {found}: export the model again")
        record = read_record(_Record, value)
    except RecordError as error:
        raise BundleError(f"{manifest}: {error}: export the model again") from error
    bundle = record.bundle(path, hashlib.sha256(raw).hexdigest())
    _check_files(bundle, verify)
    return bundle


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def bundle_record(
    *,
    model: dict[str, Any],
    prediction_type: Prediction,
    latent_shape: tuple[int, int, int],
    image_size: tuple[int, int],
    schedule: Schedule,
    text: Text,
    tangents_per_call: int,
    passes: Mapping[Derivative, float],
    certificate: Certificate | None,
    defaults: Defaults,
    calibrations: tuple[Calibration, ...],
    baseline: dict[str, Any] | None,
    dtypes: Dtypes,
    graphs: Mapping[str, Gives],
    files: dict[str, str],
    takes: Takes = NOTHING_MORE,
) -> dict[str, Any]:
    """The content of `bundle.json`: the inverse of `open_bundle`, used by export.

    `model` has `id`, `revision`, `digest`, and `adapters` and `embeddings` if it holds any; `baseline` the same and
    `text_encoder` (bool), or is None;
    `graphs` says of those that answer questions about the denoiser what they give, and may leave out all others;
    `files` maps each file's name in the bundle to its SHA-256.
    """
    whole = {graph_names.whole(name) for name in files if graph_names.is_graph(name)}
    return {
        "format_version": FORMAT_VERSION,
        "model": model,
        "baseline": baseline,
        "prediction_type": prediction_type,
        "latent_shape": list(latent_shape),
        "image_size": list(image_size),
        "dtypes": dataclasses.asdict(dtypes),
        "tangents_per_call": tangents_per_call,
        "passes": {kind: passes[kind] for kind in DERIVATIVES if kind in passes},
        "certificate": None if certificate is None else dataclasses.asdict(certificate),
        "text": dataclasses.asdict(text),
        "defaults": dataclasses.asdict(defaults),
        "calibrations": [dataclasses.asdict(calibration) for calibration in calibrations],
        "schedule": dataclasses.asdict(schedule),
        **({} if takes == NOTHING_MORE else {"takes": dataclasses.asdict(takes)}),
        "graphs": {name: graphs.get(name, {}) for name in files if name in whole},
        "files": files,
    }


@dataclasses.dataclass(frozen=True)
class _Checkpoint:
    id: str
    revision: str | None
    digest: str
    adapters: tuple[AddedAdapter, ...] = dataclasses.field(default=(), kw_only=True)
    embeddings: tuple[AddedEmbedding, ...] = dataclasses.field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        check_digest("digest", self.digest)


@dataclasses.dataclass(frozen=True)
class _Baseline(_Checkpoint):
    text_encoder: bool


@dataclasses.dataclass(frozen=True)
class _Record:
    """`bundle.json`, and what of it must agree with what else of it."""

    format_version: int
    model: _Checkpoint
    baseline: _Baseline | None
    prediction_type: Prediction
    latent_shape: tuple[int, int, int]
    image_size: tuple[int, int]
    dtypes: Dtypes
    tangents_per_call: int
    passes: Mapping[Derivative, float]
    certificate: Certificate | None
    text: Text
    defaults: Defaults
    calibrations: tuple[Calibration, ...]
    schedule: Schedule
    graphs: dict[str, Gives]
    files: dict[str, str]
    takes: Takes = NOTHING_MORE

    def __post_init__(self) -> None:
        channels, *latent = self.latent_shape
        check_range("latent_shape[0]", channels, 1, _MOST_CHANNELS)
        for axis, (inner, outer) in enumerate(zip(latent, self.image_size, strict=True)):
            check_range(f"latent_shape[{axis + 1}]", inner, 1, _LONGEST_SIDE)
            check_range(f"image_size[{axis}]", outer, 1, _LONGEST_SIDE)
            if outer % inner:
                raise ValueError(f"image_size[{axis}] is {outer}, no multiple of the latent's {inner}")
        check_range("tangents_per_call", self.tangents_per_call, 1, _MOST_TANGENTS)
        last = self.schedule.last_timestep
        check_range(
            "defaults.num_inference_steps",
            self.defaults.num_inference_steps,
            1,
            self.schedule.num_train_timesteps,
        )
        if not self.defaults.timesteps:
            raise ValueError("the list of defaults.timesteps is empty")
        for timestep in self.defaults.timesteps:
            check_range("a timestep of defaults.timesteps", timestep, 0, last)
        for index, calibration in enumerate(self.calibrations):
            check_range(f"calibrations[{index}].timestep", calibration.timestep, 0, last)
        self._check_pure_noise()
        self._check_derivatives(last)
        for name, digest in self.files.items():
            check_digest(f"the digest of {shown(name)}", digest)

    def _check_pure_noise(self) -> None:
        """Where a path begins at pure noise, the step must give an estimate there."""
        if isinstance(self.schedule, FlowSchedule):
            begins, able = "flow matching", ("flow_prediction",)
        elif isinstance(self.schedule, DdpmSchedule) and self.schedule.alphas_cumprod[-1] == 0:
            begins, able = "zero terminal SNR", ("v_prediction",)
        else:
            return
        if self.prediction_type not in able or self.format_version < 6:
            raise ValueError(
                f"a schedule of {begins} with {self.prediction_type} in format {self.format_version}: pure noise has no"
                " denoised estimate there"
            )

    def _check_derivatives(self, last: int) -> None:
        if "exact" not in self.passes:
            raise ValueError("passes.exact is missing")
        for kind, passes in self.passes.items():
            check_range(f"passes.{kind}", passes, 1.0, _MOST_PASSES)
        agreements = () if self.certificate is None else self.certificate.agreements
        for index, agreement in enumerate(agreements):
            check_range(f"certificate.agreements[{index}].timestep", agreement.timestep, 0, last)
        used = {
            "defaults": self.defaults.derivative,
            **{f"calibrations[{index}]": one.derivative for index, one in enumerate(self.calibrations)},
            **{f"certificate.agreements[{index}]": one.derivative for index, one in enumerate(agreements)},
        }
        for where, kind in used.items():
            if kind not in self.passes:
                raise ValueError(f"{where}.derivative is {kind!r}, which is not in passes")

    def bundle(self, path: Path, digest: str) -> Bundle:
        names = {field.name for field in dataclasses.fields(Bundle)} & {
            field.name for field in dataclasses.fields(self)
        }
        return Bundle(
            path=path,
            digest=digest,
            model_id=self.model.id,
            model_digest=self.model.digest,
            adapters=self.model.adapters,
            embeddings=self.model.embeddings,
            baseline_id=self.baseline.id if self.baseline else None,
            baseline_digest=self.baseline.digest if self.baseline else None,
            baseline_has_text_encoder=self.baseline is not None and self.baseline.text_encoder,
            **{name: getattr(self, name) for name in names},
        )


def _read_whole(manifest: Path) -> bytes:
    with manifest.open("rb") as stream:
        raw = stream.read(_LARGEST_RECORD + 1)
    if len(raw) > _LARGEST_RECORD:
        raise BundleError(
            f"{manifest} has more than {_LARGEST_RECORD} bytes, which no bundle needs: export the model again"
        )
    return raw


def _check_files(bundle: Bundle, verify: bool) -> None:
    needed = graph_names.needed(
        bundle.derivatives, baseline=bundle.has_baseline, own_text_encoder=bundle.baseline_has_text_encoder
    )
    named = {*needed, *bundle.graphs, *(tokenizer.file for tokenizer in bundle.text.tokenizers)}
    if unlisted := sorted(named - bundle.files.keys()):
        raise BundleError(
            f"{bundle.path} is incomplete: it has no {listed(unlisted, len(unlisted))}; export the model again"
        )
    for name in bundle.files:
        check_file(bundle.path, name)
    for name, digest in bundle.files.items():
        if verify and file_digest(bundle.file(name)) != digest:
            raise BundleError(
                f"{bundle.path} was altered: {name} does not have the recorded digest; export the model again"
            )
    check_tensors(bundle.path, bundle.files)
