"""A bundle: the folder that holds everything a scan needs of a model, described by `bundle.json`.

    bundle.json tokenizer.json (of a second text encoder tokenizer_2.json, and so on)
    text_encoder.onnx   input_ids [N, S] int64 (and input_ids_2, ...) -> encodings [N, ...] under the names of the
                        denoiser's inputs: encoder_hidden_states [N, S, D]; SDXL: text_embeds [N, P] too
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
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from memscan.scanner import graph_names
from memscan.scanner.errors import BundleError
from memscan.scanner.settings import Probes, Sampler

FORMAT_VERSION = 3

Quantity = Literal["eps", "diagonal", "product", "denoised", "attention", "state"]
Condition = Literal["prompt", "none", "baseline"]
Gives = Mapping[Quantity, tuple[Condition, ...]]
"""What a graph can be asked for: quantity -> given the prompt, given none, or of the baseline given the prompt."""


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
class Tokenization:
    """The tokenizer in `file`, whose ids are brought to `max_length`.

    Too many are cut so that `eos_token_id` ends them, too few are padded on the right with `pad_token_id`;
    `bos_token_id` is None where texts have no start token.
    """

    file: str
    max_length: int
    pad_token_id: int
    eos_token_id: int
    bos_token_id: int | None = None


@dataclasses.dataclass(frozen=True)
class Text:
    """How prompts are encoded: by one text encoder for each of `tokenizers`, in this order.

    `zero_uncond` says that the unconditional prompt is encoded as zeros.
    """

    tokenizers: tuple[Tokenization, ...]
    uncond_prompt: str = ""
    zero_uncond: bool = False


@dataclasses.dataclass(frozen=True)
class Dtypes:
    """numpy's names, or "bfloat16": how weights are stored, and what the denoiser's products are computed in."""

    weights: str
    compute: str


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
    """What a scan uses when it is not told otherwise. `timesteps` are training timesteps, descending.

    `probes` None leaves the choice to the scanner, by the number of latent channels.
    """

    num_inference_steps: int
    guidance_scale: float
    timesteps: tuple[int, ...]
    probes: Probes | None
    mask_map: str
    threshold: float
    sampler: Sampler = "ddim"


@dataclasses.dataclass(frozen=True)
class Bundle:
    """An opened bundle whose `bundle.json` was read and whose files were found; see `open_bundle`.

    `graphs` has every graph but the sliced variants, and what each gives; `files` every file's SHA-256.
    """

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
    baseline_digest: str | None
    baseline_has_text_encoder: bool
    dtypes: Dtypes
    graphs: Mapping[str, Gives]
    files: dict[str, str]

    @property
    def has_baseline(self) -> bool:
        return self.baseline_id is not None

    def gives(self, quantity: Quantity, of: Condition) -> tuple[str, ...]:
        """The graphs that can be asked for a quantity, in the order of `bundle.json`; none where there is no such one.

        Every graph that gives a diagonal or a product of a condition gives its eps as well.
        """
        return tuple(name for name, given in self.graphs.items() if of in given.get(quantity, ()))

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
    manifest = path / graph_names.RECORD
    if not path.is_dir():
        raise BundleError(f"no bundle at {path}: make one with `memscan export MODEL {path}`")
    if not manifest.is_file():
        raise BundleError(f"{path} is not a bundle: it has no {graph_names.RECORD}; make one with `memscan export`")
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
    dtypes: Dtypes,
    graphs: Mapping[str, Gives],
    files: dict[str, str],
) -> dict[str, Any]:
    """The content of `bundle.json`: the inverse of `open_bundle`, used by export.

    `model` has `id`, `revision`, `digest`; `baseline` the same and `text_encoder` (bool), or is None;
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
        "text": dataclasses.asdict(text),
        "defaults": dataclasses.asdict(defaults),
        "calibrations": [dataclasses.asdict(calibration) for calibration in calibrations],
        "schedule": dataclasses.asdict(schedule),
        "graphs": {name: graphs.get(name, {}) for name in files if name in whole},
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
        text=_text(record["text"]),
        tangents_per_call=record["tangents_per_call"],
        defaults=Defaults(
            **{
                **defaults,
                "timesteps": tuple(defaults["timesteps"]),
                "probes": Probes(**defaults["probes"]) if defaults["probes"] else None,
            }
        ),
        calibrations=tuple(
            Calibration(**{**calibration, "probes": Probes(**calibration["probes"])})
            for calibration in record["calibrations"]
        ),
        baseline_id=baseline["id"] if baseline else None,
        baseline_digest=baseline["digest"] if baseline else None,
        baseline_has_text_encoder=bool(baseline and baseline["text_encoder"]),
        dtypes=Dtypes(**record["dtypes"]),
        graphs={
            name: {quantity: tuple(conditions) for quantity, conditions in given.items()}
            for name, given in record["graphs"].items()
        },
        files=dict(record["files"]),
    )


def _text(record: dict[str, Any]) -> Text:
    tokenizers = tuple(Tokenization(**tokenizer) for tokenizer in record["tokenizers"])
    if not tokenizers:
        raise ValueError("the list of tokenizers, which is empty")
    return Text(**{**record, "tokenizers": tokenizers})


def _check_files(bundle: Bundle, verify: bool) -> None:
    named = {*bundle.graphs, *(tokenizer.file for tokenizer in bundle.text.tokenizers)}
    if unlisted := sorted(named - bundle.files.keys()):
        raise BundleError(f"{bundle.path} is incomplete: it has no {', '.join(unlisted)}; export the model again")
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
