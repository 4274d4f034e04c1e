"""Configurations and tokenizer of the public models, for single files of their fine-tunes: `shipped/`.

The values are those that the authors published with Stable Diffusion 1.x, 2.x base (eps, 512 pixels) and 2.x (v, 768
pixels), and XL base 1.0. The tokenizer is CLIP's, which all of them share: its merges determine its vocabulary.
"""

import json
import tempfile
from pathlib import Path

from transformers import CLIPTokenizer

from memscan.export.checkpoint.files import read_json
from memscan.scanner.errors import ExportError

SHIPPED = Path(__file__).parent / "shipped"
MERGES = SHIPPED / "merges.txt"

_OF_KIND = {
    "stable-diffusion-1": ("stable-diffusion-1",),
    "stable-diffusion-2": ("stable-diffusion-2", "stable-diffusion-2-v"),
    "stable-diffusion-xl": ("stable-diffusion-xl",),
}
"""Kind of a single file -> what it may be configured as; more than one where no weight tells which."""

NAMES = tuple(name for names in _OF_KIND.values() for name in names)


def is_shipped(path: Path) -> bool:
    """Whether a checkpoint's configurations are among these."""
    return path.parent == SHIPPED


def shipped_for(kind: str, file: Path) -> Path:
    """The folder of the configurations of a single file of that kind.

    Raises:
        ExportError: it may be one of several.
    """
    names = _OF_KIND[kind]
    if len(names) > 1:
        raise ExportError(
            f"{file} is one file of Stable Diffusion 2.x, whose weights do not tell whether they predict eps, in images"
            f" of 512 pixels, or v, in those of 768: give --config {names[0]} or --config {names[1]}, or a folder"
        )
    return SHIPPED / names[0]


def configured_as(config: Path) -> Path:
    """The folder that --config names: itself, or one of these.

    Raises:
        ExportError: it is neither.
    """
    if config.is_dir():
        return config
    if str(config) not in NAMES:
        raise ExportError(f"no folder {config}: give by --config a diffusers folder, or one of {', '.join(NAMES)}")
    return SHIPPED / config


def shipped_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer that `folder` configures, with CLIP's vocabulary."""
    merges = MERGES.read_text(encoding="utf-8").splitlines()[1:]
    alphabet = _byte_alphabet()
    tokens = [*alphabet, *(f"{symbol}</w>" for symbol in alphabet), *(merge.replace(" ", "") for merge in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as made:
        given = Path(made)
        vocabulary = {token: index for index, token in enumerate(tokens)}
        (given / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        (given / "merges.txt").write_bytes(MERGES.read_bytes())
        (given / "tokenizer_config.json").write_text(json.dumps(read_json(folder / "tokenizer_config.json")))
        tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(given, local_files_only=True)
    return tokenizer


def _byte_alphabet() -> list[str]:
    """CLIP's characters for the 256 bytes: printable ones for themselves, then others in the order of their bytes."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]
