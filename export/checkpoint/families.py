"""The families that memscan exports; a new one is a file beside this one and a line here."""

from pathlib import Path
from typing import Any

from memscan.export.checkpoint.checks import read_part
from memscan.export.checkpoint.family import Family, more_channels
from memscan.export.checkpoint.flux import FLUX_1
from memscan.export.checkpoint.stable_diffusion import DEPTH, EDITING, INPAINTING, STABLE_DIFFUSION
from memscan.export.checkpoint.stable_diffusion_3 import STABLE_DIFFUSION_3
from memscan.export.checkpoint.stable_diffusion_xl import REFINER, STABLE_DIFFUSION_XL, XL_INPAINTING
from memscan.scanner.errors import ExportError

FAMILIES = (
    *(STABLE_DIFFUSION, STABLE_DIFFUSION_XL, REFINER, INPAINTING, XL_INPAINTING, DEPTH, EDITING),
    *(STABLE_DIFFUSION_3, FLUX_1),
)


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
    alike = [family for family in of_folder if family.recognises(denoiser)]
    if not alike and more_channels(denoiser):
        raise ExportError(
            f"{path / 'unet'} maps {denoiser.get('in_channels', 4)} channels to {denoiser.get('out_channels', 4)}:"
            " memscan exports those that map as many, or 5 more (inpainting), 1 more (depth) or 4 more (editing)"
        )
    if not alike:
        raise ExportError(
            f"{path / 'unet'} has addition_embed_type {denoiser.get('addition_embed_type')!r}, which memscan cannot"
            f" export; it exports {' and '.join(family.title for family in of_folder)}"
        )
    found = _encoders(path)
    scored = found == REFINER.text_encoders if found else bool(index.get("requires_aesthetics_score"))
    family = next((one for one in alike if one.scored == scored), alike[0])
    if found:
        family = family.without([part for part in family.optional if part not in found and not _is_listed(index, part)])
    _require_encoders(path, family, found)
    pipeline = index.get("_class_name")
    if pipeline is not None and pipeline not in family.pipelines:
        raise ExportError(
            f"{path / 'model_index.json'} is of a {pipeline}, which memscan cannot export; of {family.title} it"
            f" exports {', '.join(family.pipelines)}"
        )
    return family


def _is_listed(index: dict[str, Any], part: str) -> bool:
    """Whether a pipeline would load the part: one that it lacks is listed as [null, null], or not at all."""
    entry = index.get(part)
    return isinstance(entry, list) and any(entry)


def _encoders(path: Path) -> tuple[str, ...]:
    every = {part: None for family in FAMILIES for part in family.text_encoders}
    return tuple(part for part in every if (path / part).is_dir())


def _require_encoders(path: Path, family: Family, found: tuple[str, ...]) -> None:
    if found and found != family.text_encoders:
        raise ExportError(
            f"{path} has the text encoders {', '.join(found)}, but its {family.denoiser} is one of {family.title},"
            f" which has {', '.join(family.text_encoders)}"
        )
