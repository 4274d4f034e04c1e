"""Finds a diffusers checkpoint, checks that it is one that memscan can export, and loads its parts.

Only safetensors are read and no code of the checkpoint is ever run. A checkpoint of a hub must be pinned by its commit.
"""

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import AutoTokenizer, CLIPTextModel, CLIPTextModelWithProjection, PreTrainedTokenizerBase

from memscan.export.checkpoint.family import TEXT_ENCODERS, Family, family_of
from memscan.scanner.bundle import Schedule, file_digest
from memscan.scanner.errors import ExportError

_CLASSES = {
    "unet": UNet2DConditionModel,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
    "vae": AutoencoderKL,
}
_HUB_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[0-9a-f]{40}))?")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found and looks right; nothing of it is loaded yet.

    `digest` is the SHA-256 over names and contents of all its configuration, vocabulary and weight files.
    """

    id: str
    revision: str | None
    path: Path
    digest: str
    family: Family

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """The folders of its family's text encoders."""
        return TEXT_ENCODERS[self.family]

    def has(self, part: str) -> bool:
        return (self.path / part).is_dir()

    def load(self, part: str) -> Any:
        """Load "unet", a text encoder or "vae" in float32, in evaluation mode, without gradients.

        Raises:
            ExportError: the weights do not fit the configuration, or cannot be read.
        """
        folder = self.path / part
        # A diffusers model warns about a later cast; transformers has renamed the argument.
        of_transformers = part in self.text_encoders
        dtype = {} if of_transformers else {"torch_dtype": torch.float32}
        options = {"use_safetensors": True, "local_files_only": True, **dtype, **_variant(folder)}
        try:
            module = _CLASSES[part].from_pretrained(folder, **options)
        except (OSError, ValueError, RuntimeError) as error:
            raise ExportError(f"{folder} cannot be loaded: {_first_line(error)}") from error
        return (module.float() if of_transformers else module).eval().requires_grad_(False)

    def config(self, part: str) -> dict[str, Any]:
        """The configuration of "unet", a text encoder or "vae"."""
        return _read_json(self.path / part / "config.json")

    def tokenizer(self, folder: str = "tokenizer") -> PreTrainedTokenizerBase:
        """The tokenizer in "tokenizer", or of SDXL's second text encoder in "tokenizer_2".

        Raises:
            ExportError: it cannot be read.
        """
        try:
            return AutoTokenizer.from_pretrained(self.path / folder, local_files_only=True, use_fast=True)
        except (OSError, ValueError) as error:
            raise ExportError(f"{self.path / folder} cannot be loaded: {_first_line(error)}") from error

    def zero_uncond(self) -> bool:
        """Whether the pipeline takes zeros for the encoding of no prompt: SDXL does unless it says otherwise."""
        if self.family == "sd":
            return False
        return bool(_read_json(self.path / "model_index.json").get("force_zeros_for_empty_prompt", True))

    def prediction_type(self) -> str:
        """What the denoiser predicts: "epsilon" or "v_prediction".

        Raises:
            ExportError: it predicts something else.
        """
        kind = str(self._scheduler_config().get("prediction_type", "epsilon"))
        if kind not in ("epsilon", "v_prediction"):
            raise ExportError(f"{self.path} predicts {kind!r}; memscan exports epsilon and v_prediction models")
        return kind

    def schedule(self) -> Schedule:
        """The noise schedule of the checkpoint's scheduler configuration, as a pipeline's DDIM scheduler has it.

        A Stable Diffusion 1.x or 2.x pipeline overrides a `steps_offset` other than 1; so does memscan. Like a
        pipeline's, its samples are never clipped.

        Raises:
            ExportError: the schedule ends at zero signal, where eps says nothing about the image, or is none.
        """
        scheduler = DDIMScheduler.from_config(self._scheduler_config())
        alphas_cumprod = tuple(scheduler.alphas_cumprod.double().tolist())
        if min(alphas_cumprod) <= 0:
            raise ExportError(f"{self.path / 'scheduler'} has zero terminal SNR, which memscan cannot export")
        try:
            return Schedule(
                num_train_timesteps=int(scheduler.config.num_train_timesteps),
                alphas_cumprod=alphas_cumprod,
                steps_offset=1 if self.family == "sd" else int(scheduler.config.steps_offset),
                set_alpha_to_one=bool(scheduler.config.set_alpha_to_one),
                timestep_spacing=str(scheduler.config.timestep_spacing),
            )
        except ValueError as error:
            raise ExportError(f"{self.path / 'scheduler'}: {error}") from error

    def _scheduler_config(self) -> dict[str, Any]:
        return _read_json(self.path / "scheduler" / "scheduler_config.json")


def find_checkpoint(model: str, *, parts: tuple[str, ...] | None = None) -> Checkpoint:
    """Find `model`: a local diffusers folder, or a hub id with a pinned revision, `OWNER/NAME@COMMIT`.

    Args:
        parts: the folders that must be there, by default all of the model's family; a baseline needs its "unet" only.

    Raises:
        ExportError: there is none, it is not pinned, it is of a kind that memscan cannot export, or its weights are
            pickles.
    """
    path, name, revision = _locate(model)
    _check_part(path, "unet")
    family = family_of(path, _read_json(path / "unet" / "config.json"))
    for part in (*TEXT_ENCODERS[family], "vae"):
        if parts is None or part in parts or (path / part).is_dir():
            _check_part(path, part)
    return Checkpoint(id=name, revision=revision, path=path, digest=_folder_digest(path), family=family)


def _locate(model: str) -> tuple[Path, str, str | None]:
    path = Path(model)
    if path.is_dir():
        return path, path.resolve().name, None
    match = _HUB_ID.fullmatch(model)
    if match is None or path.is_absolute():
        raise ExportError(f"no folder {model}: give a diffusers folder, or a hub id as OWNER/NAME@COMMIT")
    name, revision = match["name"], match["revision"]
    if revision is None:
        raise ExportError(
            f"no folder {model}; if it is a hub id, pin its revision by the 40 hex digits of a commit: {name}@COMMIT"
        )
    return _download(name, revision), name, revision


def _download(name: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["model_index.json", "*/*.json", "*/*.txt", "*/*.safetensors"]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises errors of many libraries, httpx's among them
        raise ExportError(f"{name}@{revision} cannot be downloaded: {_first_line(error)}") from error


def _check_part(path: Path, part: str) -> None:
    folder = path / part
    if not folder.is_dir():
        raise ExportError(f"{path} is not a Stable Diffusion checkpoint: it has no folder {part}/")
    config = _read_json(folder / "config.json")
    found = config.get("_class_name") or (config.get("architectures") or ["nothing"])[0]
    expected = _CLASSES[part].__name__
    if found != expected:
        raise ExportError(f"{folder} holds a {found}; memscan exports checkpoints whose {part} is a {expected}")
    if not list(folder.glob("*.safetensors")):
        pickles = sorted(file.name for file in folder.glob("*.bin"))
        reason = f"only pickle weights ({', '.join(pickles)})" if pickles else "no weights"
        raise ExportError(f"{folder} has {reason}: memscan reads safetensors only; save the checkpoint as safetensors")


def _variant(folder: Path) -> dict[str, str]:
    """The `variant` argument that finds the weights: checkpoints may hold only, say, the fp16 variant."""
    stems = ("diffusion_pytorch_model", "model")
    names = {file.name for file in folder.glob("*.safetensors")}
    if any(name.startswith((f"{stem}.safetensors", f"{stem}-")) for name in names for stem in stems):
        return {}
    return {"variant": sorted(names)[0].split(".")[1]}


def _folder_digest(path: Path) -> str:
    digest = hashlib.sha256()
    files = [file for pattern in ("*/*.json", "*/*.txt", "*/*.safetensors") for file in path.glob(pattern)]
    for file in sorted(files):
        digest.update(f"{file.relative_to(path).as_posix()} {file_digest(file)}\n".encode())
    return digest.hexdigest()


def _read_json(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text())
    except OSError as error:
        raise ExportError(f"{file} is missing: this is not a diffusers checkpoint of Stable Diffusion") from error
    except ValueError as error:
        raise ExportError(f"{file} is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise ExportError(f"{file} holds no JSON object")
    return record


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
