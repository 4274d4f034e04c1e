"""A whole model in one file of safetensors, under the names of the original code ("LDM"), as most fine-tunes come.

Names and shapes are converted by diffusers' own functions; its `from_single_file` would give random values to what a
file lacks. Configurations and tokenizers are not in such a file: they are in a folder or ship with memscan, and are
never downloaded.
"""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from memscan.export.checkpoint.files import require_whole
from memscan.export.checkpoint.shipped_configurations import configured_as, shipped_for
from memscan.export.checkpoint.transformer_file import TITLES as TRANSFORMER_TITLES
from memscan.export.checkpoint.transformer_file import UNUSED, convert_part, expected_of, prefixes_of, transformer_kind
from memscan.export.checkpoint.weight_files import named
from memscan.scanner.errors import ExportError, first_line
from memscan.scanner.schedules import DdpmSchedule, Schedule

_UNET = "model.diffusion_model."
_VAE = "first_stage_model."
_CLIP = "cond_stage_model.transformer."
_OPEN_CLIP = "cond_stage_model.model."
_XL_CLIP = "conditioner.embedders.0.transformer."
_XL_OPEN_CLIP = "conditioner.embedders.1.model."
_REFINER = "conditioner.embedders.0.model."

_PREFIXES = {
    "unet": (_UNET,),
    "vae": (_VAE,),
    "text_encoder": (_CLIP, _OPEN_CLIP, _XL_CLIP),
    "text_encoder_2": (_XL_OPEN_CLIP,),
}

_OF_TRAINING = frozenset(
    (
        *("alphas_cumprod", "alphas_cumprod_prev", "betas", "denoiser.sigmas", "global_step", "log_one_minus_alphas"),
        *("log_one_minus_alphas_cumprod", "logvar", "posterior_log_variance_clipped", "posterior_mean_coef1"),
        *("posterior_mean_coef2", "posterior_variance", "scale_factor", "sqrt_alphas_cumprod"),
        *("sqrt_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod"),
        *("cond_stage_model.logit_scale", "cond_stage_model.text_projection", "model_ema.decay"),
        *("lvlb_weights", "model_ema.num_updates"),
    )
)
"""Buffers of the original code, which a scheduler's configuration replaces, and what Stable Diffusion does not use."""

_UNUSED = ("model_ema.", "first_stage_model.loss.", "first_stage_model.model_ema.")
"""Averages over the training, which neither diffusers nor the original code samples with, and a loss."""

TITLES = {
    "stable-diffusion-1": "Stable Diffusion 1.x",
    "stable-diffusion-2": "Stable Diffusion 2.x",
    "stable-diffusion-xl": "Stable Diffusion XL base",
    **TRANSFORMER_TITLES,
}

_V_PREDICTION, _ZERO_SNR = "v_pred", "ztsnr"
"""Empty tensors by which trainers of XL mark what their model predicts, and its schedule."""


class SingleFile:
    """The names and shapes in a file.

    Raises:
        ExportError: it is a pickle, no file of safetensors, not of a model that memscan can export, or has keys that
            memscan does not know.
    """

    def __init__(self, path: Path):
        self.path = path
        _require_safetensors(path)
        try:
            with safe_open(path, "pt") as opened:
                self.shapes = {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ExportError(f"{path} cannot be loaded: {first_line(error)}; download it again") from error
        self.kind = _kind(path, self.shapes)
        self.is_transformer = self.kind in TRANSFORMER_TITLES
        self.prefixes = prefixes_of(self.kind, self.shapes) if self.is_transformer else _PREFIXES
        ignored = UNUSED if self.is_transformer else (*_OF_TRAINING, _V_PREDICTION, _ZERO_SNR)
        unknown = [
            key
            for key in sorted(self.shapes)
            if not any(self._is_of(key, part) for part in self.prefixes)
            and not key.startswith(_UNUSED)
            and key not in ignored
        ]
        if unknown:
            raise ExportError(
                f"{path} has {len(unknown)} keys that memscan does not know and may not ignore ({named(unknown)})"
            )

    @property
    def predicts_v(self) -> bool:
        """Whether the file is marked as one that predicts v."""
        return _V_PREDICTION in self.shapes

    def require_prediction(self, prediction_type: str, path: Path) -> None:
        """Check that the file is not marked as of a model that predicts v where a configuration says otherwise.

        Raises:
            ExportError: it is.
        """
        if self.predicts_v and prediction_type != "v_prediction":
            raise ExportError(
                f"{self.path} is marked {_V_PREDICTION}, but {path / 'scheduler'} predicts {prediction_type}: give by"
                " --config a folder whose scheduler predicts v"
            )

    def require_schedule(self, schedule: Schedule, path: Path) -> None:
        """Check that the file is not marked as of a model that begins at pure noise where a configuration does not.

        Raises:
            ExportError: it is.
        """
        begins_there = isinstance(schedule, DdpmSchedule) and schedule.alphas_cumprod[-1] == 0
        if _ZERO_SNR in self.shapes and not begins_there:
            raise ExportError(
                f"{self.path} is marked {_ZERO_SNR}, but {path / 'scheduler'} has no zero terminal SNR: give by"
                " --config a folder whose scheduler has rescale_betas_zero_snr"
            )

    def has(self, part: str) -> bool:
        return part in self.prefixes and any(self._is_of(key, part) for key in self.shapes)

    def _is_of(self, key: str, part: str) -> bool:
        """Whether a key is of a part; one without a prefix is of the transformer, if no other part's."""
        if self.prefixes[part] != ("",):
            return key.startswith(self.prefixes[part])
        named_parts = (prefix for prefixes in self.prefixes.values() for prefix in prefixes if prefix)
        return not key.startswith((*named_parts, *_UNUSED)) and key not in UNUSED

    def state(self, part: str, module: torch.nn.Module, config: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """The tensors of a part in float32, by the names that its class gives them.

        Args:
            module: the part as its configuration says.
            config: that configuration.

        Raises:
            ExportError: tensors are missing, left over or of another shape.
        """
        if not self.has(part):
            raise ExportError(
                f"{self.path} holds no {part}: it has no {' or '.join(f'{prefix}*' for prefix in self.prefixes[part])}"
            )
        with safe_open(self.path, "pt") as opened:
            given = {
                key: opened.get_tensor(key)
                for key in sorted(self.shapes)
                if self._is_of(key, part) and not key.startswith(_UNUSED)
            }
        unused: list[str] = []
        try:
            if self.is_transformer and part != "vae":
                (prefix,), exhaustive = self.prefixes[part], False
                converted, unused = convert_part(part, prefix, given, module)
            else:
                converted, exhaustive = _converted(part, given, module, config)
        except Exception as error:  # the conversion reckons with names and shapes that may not be there
            raise ExportError(
                f"the {part} in {self.path} cannot be converted by diffusers: {type(error).__name__}:"
                f" {first_line(error)}"
            ) from error
        state, expected = _named_as(converted, module), expected_of(module)
        _require_equal(f"{part} in {self.path}", state, expected)
        if unused:
            raise ExportError(
                f"the {part} in {self.path} has {len(unused)} tensors that its configuration does not explain"
                f" ({named(unused)}): give the folder of its own configuration by --config"
            )
        positions = sum(key.endswith("position_ids") for key in given)
        if exhaustive and len(given) - positions != len(state):
            raise ExportError(
                f"the {part} in {self.path} has {len(given) - positions} tensors, of which its configuration explains"
                f" {len(state)}: give the folder of its own configuration by --config"
            )
        return {name: state[name].to(torch.float32) for name in sorted(state)}


def configurations(file: SingleFile, config: Path | None) -> tuple[Path, str]:
    """The folder with the configurations of a single file, and what is to be said of the choice.

    Without `config` it is the folder of the file's name beside it, the one in which it lies, or that of the public
    model that the file is a fine-tune of.

    Raises:
        ExportError: there is none, or the public model may be one of several.
    """
    said = f"one file of {TITLES[file.kind]} by the names of its weights"
    if config is not None:
        return configured_as(config), f"{said}; configured as {config}"
    denoiser = "transformer" if file.is_transformer else "unet"
    for folder in (file.path.with_suffix(""), file.path.parent):
        if (folder / denoiser / "config.json").exists():
            return folder, f"{said}; configured as {folder}, beside it"
    if file.is_transformer:
        raise ExportError(
            f"{file.path} is {said}, which has no configurations and tokenizers: give by --config a diffusers folder"
            f" of the model that it is a fine-tune of, or put that beside it as {file.path.with_suffix('')}"
        )
    shipped = shipped_for(file.kind, file.path)
    return shipped, f"{said}; configured as {shipped.name}, the public model"


def _require_safetensors(path: Path) -> None:
    require_whole(path)
    if path.suffix == ".safetensors":
        return
    if path.suffix not in (".ckpt", ".pt", ".pth", ".bin"):
        raise ExportError(f"{path} is no checkpoint: give a folder, or a file of safetensors")
    target = path.with_suffix(".safetensors")
    code = (
        "import sys, torch, safetensors.torch as s; m = torch.load(sys.argv[1], map_location='cpu', weights_only=True);"
        " m = m.get('state_dict', m); s.save_file({k: v.clone().contiguous() for k, v in m.items()"
        " if hasattr(v, 'clone')}, sys.argv[2])"
    )
    raise ExportError(
        f"{path} is a pickle, which may run code when it is read; memscan reads safetensors only. This converts it"
        f" without running any: {shlex.join(['python', '-c', code, str(path), str(target)])}"
    )


def _kind(path: Path, keys: Iterable[str]) -> str:
    """The model's name, by the names of its weights: that of a folder of shipped configurations."""
    keys = list(keys)

    def any_starts(*prefixes: str) -> bool:
        return any(key.startswith(prefixes) for key in keys)

    if any_starts("lora_", "unet.", "text_encoder.", "transformer."):
        raise ExportError(f"{path} holds adapters and no model: give it by --lora, and the model that it was made for")
    kind = transformer_kind(keys)
    if kind is not None:
        return kind
    if any_starts("down_blocks.", "encoder.", "decoder.", "transformer_blocks."):
        raise ExportError(f"{path} holds one part of a model under diffusers' names: give the folder of all its parts")
    if not any_starts(_UNET + "input_blocks."):
        raise ExportError(
            f"{path} is no single file of {' or '.join(TITLES.values())}: it has no {_UNET}input_blocks.*, nor a"
            " transformer's joint_blocks.* or double_blocks.*"
        )
    if any_starts(_REFINER):
        raise ExportError(f"{path} has only the second of two text encoders (a refiner?), which memscan cannot export")
    if any_starts(_XL_CLIP, _XL_OPEN_CLIP, _UNET + "label_emb."):
        return "stable-diffusion-xl"
    return "stable-diffusion-2" if any_starts(_OPEN_CLIP) else "stable-diffusion-1"


def _converted(
    part: str, given: dict[str, torch.Tensor], module: torch.nn.Module, config: Mapping[str, Any]
) -> tuple[dict[str, torch.Tensor], bool]:
    """diffusers' conversion, and whether it makes one tensor of each."""
    from diffusers.loaders import single_file_utils as diffusers_utils

    if part == "unet":
        return diffusers_utils.convert_ldm_unet_checkpoint(given, config), True
    if part == "vae":
        return diffusers_utils.convert_ldm_vae_checkpoint(given, config), True
    for prefix in (_OPEN_CLIP, _XL_OPEN_CLIP):
        if any(key.startswith(prefix) for key in given):
            return diffusers_utils.convert_open_clip_checkpoint(module, given, prefix=prefix), False
    return diffusers_utils.convert_ldm_clip_checkpoint(given), True


def _named_as(converted: Mapping[str, torch.Tensor], module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """With or without `text_model.`, as the class has it in this version of transformers."""
    expected = module.state_dict()
    state = {}
    for name, tensor in converted.items():
        if name.endswith("position_ids"):
            continue
        bare = name.removeprefix("text_model.")
        state[next((one for one in (name, bare, f"text_model.{bare}") if one in expected), name)] = tensor
    return state


def _require_equal(what: str, state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    missing, unexpected = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    misshapen = [
        f"{name} is {list(state[name].shape)}, not {list(expected[name].shape)}"
        for name in sorted(state.keys() & expected.keys())
        if state[name].shape != expected[name].shape
    ]
    faults = [
        f"{len(names)} {word} ({named(names)})"
        for word, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if names
    ]
    if faults:
        raise ExportError(
            f"the weights of the {what} do not match its configuration, {len(expected)} tensors: {'; '.join(faults)}"
        )
