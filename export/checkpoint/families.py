"""The families that memscan exports; a new one is a file beside this one and a line here."""

from pathlib import Path
from typing import Any

from memscan.export.checkpoint.checks import read_part
from memscan.export.checkpoint.family import Family
from memscan.export.checkpoint.flux import FLUX_1
from memscan.export.checkpoint.stable_diffusion import STABLE_DIFFUSION
from memscan.export.checkpoint.stable_diffusion_3 import STABLE_DIFFUSION_3
from memscan.export.checkpoint.stable_diffusion_xl import STABLE_DIFFUSION_XL
from memscan.scanner.errors import ExportError

FAMILIES = (STABLE_DIFFUSION, STABLE_DIFFUSION_XL, STABLE_DIFFUSION_3, FLUX_1)


def read_denoiser(path: Path) -> tuple[str, dict[str, Any]]:
    """The folder of the denoiser of the checkpoint at `path`, and its checked configuration.

    Raises:
        ExportError: it is of no class that memscan can export.
    """
    folder = "transformer" if (path / "transformer").is_dir() and not (path / "unet").is_dir() else "unet"
    classes = [family.parts[folder] for family in FAMILIES if family.denoiser == folder]
    return folder, read_part(path / folder, folder, *classes)


def family_of(path: Path, folder: str, denoiser: dict[str, Any], index: dict[str, Any]) -> Family:
    """The family of the checkpoint at `path`, without the optional text encoders that it lacks.

    Args:
        folder, denoiser: as `read_denoiser` returns them.
        index: its `model_index.json`, {} if it has none.

    Raises:
        ExportError: it is of none that memscan can export.
    """
    of_folder = [family for family in FAMILIES if family.denoiser == folder]
    if folder == "unet":
        _require_equal_channels(path, denoiser)
    family = next((family for family in of_folder if family.recognises(denoiser)), None)
    if family is None:
        raise ExportError(
            f"{path / 'unet'} has addition_embed_type {denoiser.get('addition_embed_type')!r}, which memscan cannot"
            f" export; it exports {' and '.join(family.title for family in of_folder)}"
        )
    if any((path / part).is_dir() for part in family.text_encoders):
        family = family.without(
            [part for part in family.optional if not (path / part).is_dir() and not _is_listed(index, part)]
        )
    _require_encoders(path, family)
    pipeline = index.get("_class_name")
    if pipeline is not None and pipeline not in family.pipelines:
        raise ExportError(
            f"{path / 'model_index.json'} is of a {pipeline}, which memscan cannot export; of {family.title} it"
            f" exports {', '.join(family.pipelines)}"
        )
    return family


def _require_equal_channels(path: Path, unet: dict[str, Any]) -> None:
    inputs, outputs = unet.get("in_channels", 4), unet.get("out_channels", 4)
    if inputs != outputs:
        raise ExportError(f"{path / 'unet'} maps {inputs} channels to {outputs} (inpainting?); they must be as many")


def _is_listed(index: dict[str, Any], part: str) -> bool:
    """Whether a pipeline would load the part: one that it lacks is listed as [null, null], or not at all."""
    entry = index.get(part)
    return isinstance(entry, list) and any(entry)


def _require_encoders(path: Path, family: Family) -> None:
    every = {part: None for other in FAMILIES for part in other.text_encoders}
    found = tuple(part for part in every if (path / part).is_dir())
    if found and found[0] != family.text_encoders[0]:
        raise ExportError(f"{path} has only the second of two text encoders (a refiner?), which memscan cannot export")
    if found and found != family.text_encoders:
        raise ExportError(
            f"{path} has the text encoders {', '.join(found)}, but its {family.denoiser} is one of {family.title},"
            f" which has {', '.join(family.text_encoders)}"
        )
