"""What is asked of a checkpoint before anything is loaded: known configurations, and parts that belong together."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from memscan.export.checkpoint.autoencoders import AUTOENCODERS, require_one_scale
from memscan.export.checkpoint.configuration.keys import check_keys
from memscan.export.checkpoint.configuration.pipeline import PIPELINE
from memscan.export.checkpoint.configuration.text_encoder import TEXT_ENCODER
from memscan.export.checkpoint.configuration.tokenizer import CLASSES, TOKENIZER
from memscan.export.checkpoint.configuration.unet import UNET
from memscan.export.checkpoint.family import Family
from memscan.export.checkpoint.files import read_json
from memscan.scanner.errors import ExportError

_COUNTS = ("hidden_size", "vocab_size", "max_position_embeddings", "in_channels", "latent_channels")
"""Keys that are reckoned with before a class checks them."""

_UNSAID = 10**9
"""The length of a tokenizer whose configuration gives none is larger than this."""

Config = Mapping[str, Any]


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


def read_part(folder: Path, part: str, cls: type) -> dict[str, Any]:
    """The checked configuration in `folder` of a part that has weights.

    Raises:
        ExportError: the part is missing, is of another class than `cls` (a VAE: than those of `autoencoders`), or has a
            key that memscan cannot export.
    """
    if not folder.is_dir():
        raise ExportError(f"{folder.parent} is not a Stable Diffusion checkpoint: it has no folder {part}/")
    config = read_json(folder / "config.json")
    architectures = config.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else "nothing"
    found = config.get("_class_name") or first
    known = list(AUTOENCODERS) if part == "vae" else [cls.__name__]
    if found not in known:
        raise ExportError(
            f"{folder} holds a {found}; memscan exports checkpoints whose {part} is a {' or '.join(known)}"
        )
    keys = AUTOENCODERS[found].keys if part == "vae" else UNET if part == "unet" else TEXT_ENCODER
    check_keys(folder / "config.json", config, keys)
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
    unet = configs["unet"]
    width = text_width(path, unet)
    if all(part in configs for part in family.text_encoders):
        given = sum(int(configs[part].get("hidden_size", 512)) for part in family.text_encoders)
        if width != given:
            raise ExportError(
                f"{path / 'unet'} attends to text of width {width}, but the text encoder gives {given}: these parts do"
                " not belong together"
            )
    if "vae" not in configs:
        return
    vae, channels = configs["vae"], unet.get("in_channels", 4)
    if vae.get("latent_channels", 4) != channels:
        raise ExportError(
            f"{path / 'unet'} denoises {channels} channels, but the vae has {vae.get('latent_channels', 4)}: these"
            " parts do not belong together"
        )
    scale = vae.get("scaling_factor", 0.18215)
    if not isinstance(scale, (int, float)) or not (math.isfinite(scale) and scale > 0):
        raise ExportError(f"{path / 'vae' / 'config.json'} has scaling_factor {scale!r}: it must be a positive number")


def text_width(path: Path, unet: Config) -> int:
    """The width of the text states that a denoiser attends to.

    Raises:
        ExportError: its blocks attend to several, or it is no width.
    """
    width = unet.get("cross_attention_dim", 1280)
    widths = width if isinstance(width, list) else [width]
    if not widths or not all(type(each) is int and each > 0 for each in widths):
        raise ExportError(f"{path / 'unet'} has cross_attention_dim {width!r}: it must be a positive integer")
    if len(set(widths)) != 1:
        raise ExportError(f"{path / 'unet'} has cross_attention_dim {width!r}, blocks that attend to different texts")
    return int(widths[0])


def require_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase, encoder: Config | None) -> None:
    """Check that a tokenizer is CLIP's, and that its text encoder knows each of its tokens.

    Raises:
        ExportError: it is another's, has a token too many, lacks a special one, or is longer than its
            text encoder.
    """
    file = folder / "tokenizer_config.json"
    bare = not file.exists() and not file.is_symlink() and (folder / "vocab.json").is_file()
    config = {} if bare else read_json(file)
    check_keys(file, config, TOKENIZER)
    if config.get("tokenizer_class", CLASSES[0]) not in CLASSES:
        raise ExportError(f"{folder} holds a {config['tokenizer_class']}; memscan exports {' and '.join(CLASSES)}")
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if getattr(tokenizer, name) is None:
            raise ExportError(
                f"{folder} has no {name.removesuffix('_id')}, with which prompts begin, end or are padded"
            )
    largest = max(tokenizer.get_vocab().values())
    if encoder is not None and largest >= encoder.get("vocab_size", 49408):
        raise ExportError(
            f"{folder} has tokens up to {largest}, but its text encoder knows {encoder.get('vocab_size', 49408)}: these"
            " parts do not belong together"
        )
    if encoder is not None and _positions(encoder) < tokenizer.model_max_length < _UNSAID:
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
