"""Whether a baseline is a less-trained checkpoint of the same model: same architecture, text, latents and noise.

The difference of two curvatures means something only where nothing but the training differs.
"""

from itertools import zip_longest
from typing import Any, assert_never

import torch

from memscan.export.checkpoint.checkpoint import Checkpoint
from memscan.export.checkpoint.checks import keys_of, read_part, text_width
from memscan.export.checkpoint.configuration.keys import Keys, differences
from memscan.export.checkpoint.files import read_json
from memscan.export.checkpoint.sizes import latent_size
from memscan.export.checkpoint.tokenization import check_same_tokenizers
from memscan.scanner.errors import ExportError
from memscan.scanner.schedules import DdpmSchedule, EdmSchedule, FlowSchedule

_LOOSE = ("bos_token_id", "eos_token_id", "projection_dim")
"""Old configurations have placeholders here; the tokenizers and the denoiser's inputs are compared instead."""

_END = "", torch.empty(0)
"""What follows the last tensor."""


def check_baseline(model: Checkpoint, baseline: Checkpoint) -> list[str]:
    """Check that `baseline` belongs to `model`; parts that it lacks are the model's.

    Returns:
        Lines that a user should see.

    Raises:
        ExportError: it is of another family, differs in a configuration, a tokenizer or the noise schedule, or has the
            model's own weights, perhaps rounded.
    """
    if baseline.family.name != model.family.name:
        raise ExportError(
            f"{baseline.path} is of another family, {baseline.family.title}, than {model.path},"
            f" {model.family.title}: not the same model"
        )
    lacking = baseline.family.lacking
    if lacking != model.family.lacking and any(baseline.has(part) for part in baseline.text_encoders):
        raise ExportError(
            f"{baseline.path} has the text encoders {', '.join(baseline.text_encoders)}, but {model.path}"
            f" {', '.join(model.text_encoders)}: not the same model"
        )
    for part, cls in model.family.parts.items():
        if baseline.has(part) and not (part == "vae" and _other_class(model, baseline)):
            _require_same_config(model, baseline, part, keys_of(cls.__name__))
    check_same_tokenizers(model, baseline)
    remarks = []
    if baseline.has("scheduler"):
        if _noise(baseline) != _noise(model):
            raise ExportError(
                f"{baseline.path / 'scheduler'} has other noise than {model.path / 'scheduler'} (num_train_timesteps,"
                " betas or kind): not the same model"
            )
        if baseline.prediction_type() != model.prediction_type():
            remarks.append(
                f"{baseline.id} predicts {baseline.prediction_type()}, {model.id} {model.prediction_type()}: both are"
                " exported as eps"
            )
    if baseline.has("vae") and not _same_vae(model, baseline):
        remarks.append(f"{baseline.id} has another vae than {model.id}: both are given the latents of {model.id}")
    encoders = [part for part in model.text_encoders if baseline.has(part)]
    denoiser = model.family.denoiser
    same = [part for part in (denoiser, *encoders) if same_weights(model, baseline, part)]
    if denoiser in same and len(same) == 1 + len(encoders):
        raise ExportError(
            f"{baseline.path} has the weights of {model.path}, perhaps rounded: a baseline is a less-trained checkpoint"
            " of the same model"
        )
    if denoiser in same:
        remarks.append(f"{baseline.id} has the {denoiser} of {model.id}, and differs from it in the text encoder alone")
    return remarks


def _noise(checkpoint: Checkpoint) -> tuple[object, ...]:
    """Of a schedule, what says which noise a timestep means to the denoiser; shifts and spacings are sampling's."""
    match checkpoint.schedule():
        case DdpmSchedule(alphas_cumprod=levels, kind=kind):
            return kind, levels
        case FlowSchedule(num_train_timesteps=timesteps, kind=kind):
            return kind, timesteps
        case EdmSchedule(kind=kind):
            return kind, checkpoint.preconditioning()
        case unknown:
            assert_never(unknown)


def same_weights(one: Checkpoint, other: Checkpoint, part: str) -> bool:
    """Whether a part's weights are the same in both, or would be if all were rounded to float16, or to bfloat16."""
    roundings = {torch.float32, torch.float16, torch.bfloat16}
    for (name, tensor), (twin_name, twin) in zip_longest(
        *(each.tensors(part) for each in (one, other)), fillvalue=_END
    ):
        if name != twin_name:
            return False
        roundings = {dtype for dtype in roundings if torch.equal(tensor.to(dtype), twin.to(dtype))}
        if not roundings:
            return False
    return True


def _require_same_config(model: Checkpoint, baseline: Checkpoint, part: str, keys: Keys) -> None:
    one, other = (_comparable(checkpoint, part) for checkpoint in (baseline, model))
    found = differences(keys, one, other)
    if found:
        raise ExportError(
            f"{baseline.folder(part)} differs from {model.folder(part)} in {'; '.join(found)}: not the same model"
        )


def _comparable(checkpoint: Checkpoint, part: str) -> dict[str, Any]:
    """A part's configuration with one spelling for one meaning, and without what means nothing."""
    config = read_part(checkpoint.folder(part), part, checkpoint.family.parts[part])
    if part == "unet":
        size = checkpoint.cells or latent_size(config, checkpoint.family)
        return {**config, "sample_size": size, "cross_attention_dim": text_width(checkpoint.path, config)}
    return {key: value for key, value in config.items() if key not in _LOOSE}


def _other_class(model: Checkpoint, baseline: Checkpoint) -> bool:
    """Whether the VAEs are of two classes, whose configurations cannot be compared; a baseline's is never used."""
    one, other = (read_json(each.folder("vae") / "config.json").get("_class_name") for each in (model, baseline))
    return one != other


def _same_vae(model: Checkpoint, baseline: Checkpoint) -> bool:
    try:
        return same_weights(model, baseline, "vae")
    except ExportError:  # a baseline's is never used, and so may be unreadable
        return False
