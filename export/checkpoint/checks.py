"""What is asked of a checkpoint before anything is loaded: known configurations, and parts that belong together."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from memscan.export.checkpoint.autoencoders import AUTOENCODERS, require_one_scale
from memscan.export.checkpoint.configuration.keys import Keys, check_keys
from memscan.export.checkpoint.configuration.pipeline import PIPELINE
from memscan.export.checkpoint.configuration.t5 import T5_CLASSES, T5_ENCODER, T5_TOKENIZER
from memscan.export.checkpoint.configuration.text_encoder import TEXT_ENCODER
from memscan.export.checkpoint.configuration.tokenizer import CLASSES, TOKENIZER
from memscan.export.checkpoint.configuration.transformer import TRANSFORMERS
from memscan.export.checkpoint.configuration.unet import UNET
from memscan.export.checkpoint.family import Family
from memscan.export.checkpoint.files import read_json
from memscan.scanner.errors import ExportError

_KEYS = {
    "UNet2DConditionModel": UNET,
    "T5EncoderModel": T5_ENCODER,
    **{name: each.keys for name, each in AUTOENCODERS.items()},
    **TRANSFORMERS,
}
"""By class; all others are CLIP's text encoders."""

_COUNTS = ("hidden_size", "vocab_size", "max_position_embeddings", "in_channels", "latent_channels")
"""Keys that are reckoned with before a class checks them."""

_UNSAID = 10**9
"""The length of a tokenizer whose configuration gives none is larger than this."""

Config = Mapping[str, Any]


def keys_of(cls: str) -> Keys:
    """The keys of the configuration of a part, by the name of its class."""
    return _KEYS.get(cls, TEXT_ENCODER)


def read_index(path: Path) -> dict[str, Any]:
    """The checked `model_index.json` of the checkpoint at `path`; {} if it has none.

    Raises:
        ExportError: it cannot be read, or says something that memscan cannot export.
    """
    file = path / "model_index.json"
    if not file.exists() and not file.is_symlink():
        return {}
    index = read_json(file)
    check_keys(file, index, PIPELINE)
    return index


def read_part(folder: Path, part: str, *classes: type) -> dict[str, Any]:
    """The checked configuration in `folder` of a part that has weights.

    Raises:
        ExportError: the part is missing, is of none of `classes` (a VAE: of `autoencoders`), or has a key that memscan
            cannot export.
    """
    if not folder.is_dir():
        raise ExportError(f"{folder.parent} is not a Stable Diffusion checkpoint: it has no folder {part}/")
    config = read_json(folder / "config.json")
    architectures = config.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else "nothing"
    found = config.get("_class_name") or first
    names = list(AUTOENCODERS) if part == "vae" else list(dict.fromkeys(cls.__name__ for cls in classes))
    if found not in names:
        raise ExportError(
            f"{folder} holds a {found}; memscan exports checkpoints whose {part} is a {' or '.join(names)}"
        )
    check_keys(folder / "config.json", config, keys_of(found))
    for key in _COUNTS:
        if key in config and (type(config[key]) is not int or config[key] < 1):
            raise ExportError(f"{folder / 'config.json'} has {key} {config[key]!r}: it must be a positive integer")
    if part == "vae":
        require_one_scale(folder, config)
    return config


def require_listed(path: Path, index: Config, parts: Sequence[str]) -> None:
    """Check that `model_index.json` does not leave a part out that has a folder: a pipeline would not load it.

    Raises:
        ExportError: it does, or takes it from code of the checkpoint.
    """
    for part in parts:
        entry = index.get(part, ["", ""])
        if not isinstance(entry, list) or entry[:1] not in (["diffusers"], ["transformers"], [""]):
            raise ExportError(
                f"{path / 'model_index.json'} has {part} {entry!r}, but there is a folder {part}/: memscan exports"
                " parts of diffusers and transformers"
            )


def require_belonging(path: Path, family: Family, configs: Mapping[str, Config]) -> None:
    """Check that parts of one checkpoint fit each other; those that are not in `configs` are not asked.

    Raises:
        ExportError: text states or latents of one part are of another width than the other takes.
    """
    denoiser = configs[family.denoiser]
    if all(part in configs for part in family.text_encoders):
        encoders = [configs[part] for part in family.text_encoders]
        if family.build is None:
            _require_width(path, text_width(path, denoiser), encoders)
        else:
            _require_joint_text(path, family, denoiser, encoders)
    if "vae" not in configs:
        return
    vae, channels = configs["vae"], latent_channels(family, denoiser)
    if vae.get("latent_channels", 4) != channels:
        raise ExportError(
            f"{path / family.denoiser} denoises {channels} channels, but the vae has {vae.get('latent_channels', 4)}:"
            " these parts do not belong together"
        )
    scale = vae.get("scaling_factor", 0.18215)
    if not isinstance(scale, (int, float)) or not (math.isfinite(scale) and scale > 0):
        raise ExportError(f"{path / 'vae' / 'config.json'} has scaling_factor {scale!r}: it must be a positive number")


def latent_channels(family: Family, denoiser: Config) -> int:
    """The channels of the latents that a denoiser of this configuration makes."""
    if family.build is None:
        return int(denoiser.get("out_channels", 4))
    taken = keys_of(family.parts[family.denoiser].__name__).understood["in_channels"]
    return int(denoiser.get("in_channels", taken)) // family.packed


def given_width(encoders: Sequence[Config]) -> int:
    """The width of the text states that encoders of these configurations give: T5's own, which are the widest, or those
    of CLIP side by side."""
    wide = [int(config.get("d_model", 512)) for config in encoders if config.get("model_type") == "t5"]
    return wide[0] if wide else sum(int(config.get("hidden_size", 512)) for config in encoders)


def _require_width(path: Path, width: int, encoders: Sequence[Config]) -> None:
    given = given_width(encoders)
    if width != given:
        raise ExportError(
            f"{path / 'unet'} attends to text of width {width}, but the text encoder gives {given}: these parts do"
            " not belong together"
        )


def _require_joint_text(path: Path, family: Family, transformer: Config, encoders: Sequence[Config]) -> None:
    """Narrower states are filled up, but not T5's, and the pooled encoding is as wide as the denoiser's."""
    understood = keys_of(family.parts[family.denoiser].__name__).understood
    width, pooled = (
        int(transformer.get(key, understood[key])) for key in ("joint_attention_dim", "pooled_projection_dim")
    )
    clip = [config for config in encoders if config.get("model_type") != "t5"]
    given, of_clip = given_width(encoders), 0 if family.pooled else given_width(clip)
    if of_clip > width or (len(clip) < len(encoders) and given != width):
        raise ExportError(
            f"{path / 'transformer'} attends to text of width {width}, but the text encoders give {given}: these parts"
            " do not belong together"
        )
    projected = "hidden_size" if family.pooled else "projection_dim"
    given_pooled = sum(int(config.get(projected, 512)) for config in clip)
    if given_pooled != pooled:
        raise ExportError(
            f"{path / 'transformer'} takes pooled text of width {pooled}, but the text encoders give {given_pooled}:"
            " these parts do not belong together"
        )


def text_width(path: Path, unet: Config) -> int:
    """The width of the text states that a denoiser takes: those that it projects first, or attends to as they are.

    Raises:
        ExportError: its blocks attend to several, or it is no width.
    """
    width = unet.get("encoder_hid_dim") or unet.get("cross_attention_dim", 1280)
    widths = width if isinstance(width, list) else [width]
    if not widths or not all(type(each) is int and each > 0 for each in widths):
        raise ExportError(f"{path / 'unet'} has cross_attention_dim {width!r}: it must be a positive integer")
    if len(set(widths)) != 1:
        raise ExportError(f"{path / 'unet'} has cross_attention_dim {width!r}, blocks that attend to different texts")
    return int(widths[0])


def require_spelled_out(folder: Path) -> None:
    """Check that a tokenizer is not there in SentencePiece's form alone.

    Raises:
        ExportError: it is.
    """
    if (folder / "spiece.model").exists() and not (folder / "tokenizer.json").exists():
        raise ExportError(
            f"{folder} has spiece.model alone; memscan reads tokenizer.json: make one by transformers with"
            " sentencepiece, AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )


def require_tokenizer(
    folder: Path, tokenizer: PreTrainedTokenizerBase, encoder: Config | None, *, t5: bool = False
) -> None:
    """Check that a tokenizer is CLIP's, or T5's, and that its text encoder knows each of its tokens.

    Raises:
        ExportError: it is another's, has a token too many, lacks a special one, or is longer than its
            text encoder.
    """
    file = folder / "tokenizer_config.json"
    bare = not file.exists() and not file.is_symlink() and (folder / "vocab.json").is_file()
    config = {} if bare else read_json(file)
    check_keys(file, config, T5_TOKENIZER if t5 else TOKENIZER)
    classes = T5_CLASSES if t5 else CLASSES
    if config.get("tokenizer_class", classes[0]) not in classes:
        raise ExportError(f"{folder} holds a {config['tokenizer_class']}; memscan exports {' and '.join(classes)}")
    for name in ("eos_token_id", "pad_token_id") if t5 else ("bos_token_id", "eos_token_id", "pad_token_id"):
        if getattr(tokenizer, name) is None:
            raise ExportError(
                f"{folder} has no {name.removesuffix('_id')}, with which prompts begin, end or are padded"
            )
    largest = max(tokenizer.get_vocab().values())
    known = None if encoder is None else encoder.get("vocab_size", 32128 if t5 else 49408)
    if known is not None and largest >= known:
        raise ExportError(
            f"{folder} has tokens up to {largest}, but its text encoder knows {known}: these parts do not belong"
            " together"
        )
    if encoder is not None and not t5 and _positions(encoder) < tokenizer.model_max_length < _UNSAID:
        raise ExportError(
            f"{folder} brings prompts to {tokenizer.model_max_length} tokens, but its text encoder has"
            f" {_positions(encoder)} positions: set model_max_length in tokenizer_config.json to {_positions(encoder)}"
        )


def length_remark(tokenizer: PreTrainedTokenizerBase, part: str, encoder: Config) -> str:
    """What is to be said where a tokenizer does not use all positions of its text encoder, or ""."""
    if tokenizer.model_max_length >= _positions(encoder):
        return ""
    return (
        f"{part}: prompts are cut at {tokenizer.model_max_length} tokens, as a pipeline does, though the text encoder"
        f" has {_positions(encoder)} positions"
    )


def _positions(encoder: Config) -> int:
    return int(encoder.get("max_position_embeddings", 77))
