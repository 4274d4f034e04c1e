"""A bundle: the folder that holds everything a scan needs of a model, described by `bundle.json`.

    bundle.json tokenizer.json (SDXL: tokenizer_2.json too)
    text_encoder.onnx   input_ids [N, S] int64 -> hidden_states [N, S, D]; SDXL: input_ids_2 too, and text_embeds [N, P]
    step.onnx           one guided solver step, with eps given the prompt and given none
    measure.onnx        eps and v * (J v), summed over Kg tangents, in operators that every runtime has
    *.sliced.onnx       the same two with attention in slices, for CPUs, where attention is large
    vae_decoder.onnx    latents [N, C, h, w] -> image [N, 3, H, W] in [-1, 1], the latent scaling included
    vae_encoder.onnx    image [N, 3, H, W] -> latents [N, C, h, w] (posterior mode, scaled)
    weights.bin         the denoiser's weights, shared by its graphs
    baseline/           measuring graphs and weights.bin of the less-trained checkpoint; its text encoder if it differs

Inputs and outputs of all graphs but token ids are float32, and they predict eps whatever the checkpoint predicted. A
denoiser's graphs take a noise level as timestep, alpha and sigma, [N] each: which levels there are is the scanner's to
know. The digest of a bundle is that of its `bundle.json`, which holds the digests of all other files.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from memscan.scanner.errors import BundleError
from memscan.scanner.settings import Probes, Sampler

FORMAT_VERSION = 3


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The noise schedule and how sampling steps are spaced, with diffusers' names.

    `alphas_cumprod` has one value for each of the `num_train_timesteps` training timesteps.
    """

    num_train_timesteps: int
    alphas_cumprod: tuple[float, ...]
    steps_offset: int
    set_alpha_to_one: bool
    timestep_spacing: str


@dataclasses.dataclass(frozen=True)
class Text:
    """Tokenisation: ids are padded on the right with `pad_token_id` to `max_length`.

    A model with two text encoders has a second tokenizer, which pads with `second_pad_token_id`. `zero_uncond` says
    that the unconditional prompt is encoded as zeros.
    """

    max_length: int
    pad_token_id: int
    bos_token_id: int
    eos_token_id: int
    uncond_prompt: str = ""
    second_pad_token_id: int | None = None
    zero_uncond: bool = False


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A threshold of `map`, in the collapse unit, found on calibration prompts at exactly these settings."""

    map: str
    timestep: int
    threshold: float
    num_inference_steps: int
    guidance_scale: float
    probes: Probes
    sampler: Sampler = "ddim"


@dataclasses.dataclass(frozen=True)
class Defaults:
    """What a scan uses when it is not told otherwise. `timesteps` are training timesteps, descending."""

    num_inference_steps: int
    guidance_scale: float
    timesteps: tuple[int, ...]
    probes: Probes
    mask_map: str
    threshold: float
    sampler: Sampler = "ddim"


@dataclasses.dataclass(frozen=True)
class Bundle:
    """An opened bundle whose `bundle.json` was read and whose files were found; see `open_bundle`."""

    path: Path
    digest: str
    model_id: str
    model_digest: str
    prediction_type: str
    latent_shape: tuple[int, int, int]
    image_size: tuple[int, int]
    schedule: Schedule
    text: Text
    tangents_per_call: int
    defaults: Defaults
    calibrations: tuple[Calibration, ...]
    baseline_id: str | None
    baseline_has_text_encoder: bool
    files: dict[str, str]

    @property
    def has_baseline(self) -> bool:
        return self.baseline_id is not None

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
    manifest = path / "bundle.json"
    if not path.is_dir():
        raise BundleError(f"no bundle at {path}: make one with `memscan export MODEL {path}`")
    if not manifest.is_file():
        raise BundleError(f"{path} is not a bundle: it has no bundle.json; make one with `memscan export`")
    raw = manifest.read_bytes()
    try:
        record = json.loads(raw)
        version = record["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{manifest} cannot be read ({error}): export the model again") from error
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{path} has bundle format {version}, this memscan reads {FORMAT_VERSION}: export the model again"
        )
    try:
        bundle = _from_record(path, hashlib.sha256(raw).hexdigest(), record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"{manifest} lacks or garbles {error}: export the model again") from error
    _check_files(bundle, verify)
    return bundle


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def bundle_record(
    *,
    model: dict[str, Any],
    prediction_type: str,
    latent_shape: tuple[int, int, int],
    image_size: tuple[int, int],
    schedule: Schedule,
    text: Text,
    tangents_per_call: int,
    defaults: Defaults,
    calibrations: tuple[Calibration, ...],
    baseline: dict[str, Any] | None,
    dtypes: dict[str, str],
    files: dict[str, str],
) -> dict[str, Any]:
    """The content of `bundle.json`: the inverse of `open_bundle`, used by export.

    `model` has `id`, `revision`, `digest`; `baseline` the same and `text_encoder` (bool), or is None;
    `files` maps each file's name in the bundle to its SHA-256.
    """
    return {
        "format_version": FORMAT_VERSION,
        "model": model,
        "baseline": baseline,
        "prediction_type": prediction_type,
        "latent_shape": list(latent_shape),
        "image_size": list(image_size),
        "dtypes": dtypes,
        "tangents_per_call": tangents_per_call,
        "text": dataclasses.asdict(text),
        "defaults": dataclasses.asdict(defaults),
        "calibrations": [dataclasses.asdict(calibration) for calibration in calibrations],
        "schedule": dataclasses.asdict(schedule),
        "files": files,
    }


def _from_record(path: Path, digest: str, record: dict[str, Any]) -> Bundle:
    schedule, defaults, baseline = record["schedule"], record["defaults"], record["baseline"]
    channels, height, width = record["latent_shape"]
    image_height, image_width = record["image_size"]
    return Bundle(
        path=path,
        digest=digest,
        model_id=record["model"]["id"],
        model_digest=record["model"]["digest"],
        prediction_type=record["prediction_type"],
        latent_shape=(channels, height, width),
        image_size=(image_height, image_width),
        schedule=Schedule(**{**schedule, "alphas_cumprod": tuple(schedule["alphas_cumprod"])}),
        text=Text(**record["text"]),
        tangents_per_call=record["tangents_per_call"],
        defaults=Defaults(
            **{
                **defaults,
                "timesteps": tuple(defaults["timesteps"]),
                "probes": Probes(**defaults["probes"]),
            }
        ),
        calibrations=tuple(
            Calibration(**{**calibration, "probes": Probes(**calibration["probes"])})
            for calibration in record["calibrations"]
        ),
        baseline_id=baseline["id"] if baseline else None,
        baseline_has_text_encoder=bool(baseline and baseline["text_encoder"]),
        files=dict(record["files"]),
    )


def _check_files(bundle: Bundle, verify: bool) -> None:
    for name, digest in bundle.files.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BundleError(f"{bundle.path}: bundle.json names {name}, outside the bundle; do not trust this bundle")
        file = bundle.file(name)
        if not file.is_file():
            raise BundleError(f"{bundle.path} is incomplete: {name} is missing; export the model again")
        if verify and file_digest(file) != digest:
            raise BundleError(
                f"{bundle.path} was altered: {name} does not have the recorded digest; export the model again"
            )
