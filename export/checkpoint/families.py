"""The families that memscan exports; a new one is a file beside this one and a line here."""

from pathlib import Path
from typing import Any

from memscan.export.checkpoint.family import Family, more_channels
from memscan.export.checkpoint.stable_diffusion import DEPTH, EDITING, INPAINTING, STABLE_DIFFUSION
from memscan.export.checkpoint.stable_diffusion_xl import REFINER, STABLE_DIFFUSION_XL, XL_INPAINTING
from memscan.scanner.errors import ExportError

FAMILIES = (STABLE_DIFFUSION, STABLE_DIFFUSION_XL, REFINER, INPAINTING, XL_INPAINTING, DEPTH, EDITING)


def family_of(path: Path, unet: dict[str, Any], index: dict[str, Any]) -> Family:
    """The family of the checkpoint at `path`.

    Args:
        unet: the configuration of its denoiser.
        index: its `model_index.json`, {} if it has none.

    Raises:
        ExportError: it is of none that memscan can export.
    """
    alike = [family for family in FAMILIES if family.recognises(unet)]
    if not alike and more_channels(unet):
        raise ExportError(
            f"{path / 'unet'} maps {unet.get('in_channels', 4)} channels to {unet.get('out_channels', 4)}: memscan"
            " exports those that map as many, or 5 more (inpainting), 1 more (depth) or 4 more (editing)"
        )
    if not alike:
        raise ExportError(
            f"{path / 'unet'} has addition_embed_type {unet.get('addition_embed_type')!r}, which memscan cannot export;"
            f" it exports {' and '.join(family.title for family in FAMILIES)}"
        )
    found = _encoders(path)
    scored = found == REFINER.text_encoders if found else bool(index.get("requires_aesthetics_score"))
    family = next((one for one in alike if one.scored == scored), alike[0])
    _require_encoders(path, family, found)
    pipeline = index.get("_class_name")
    if pipeline is not None and pipeline not in family.pipelines:
        raise ExportError(
            f"{path / 'model_index.json'} is of a {pipeline}, which memscan cannot export; of {family.title} it"
            f" exports {', '.join(family.pipelines)}"
        )
    return family


def _encoders(path: Path) -> tuple[str, ...]:
    every = {part: None for family in FAMILIES for part in family.text_encoders}
    return tuple(part for part in every if (path / part).is_dir())


def _require_encoders(path: Path, family: Family, found: tuple[str, ...]) -> None:
    if found and found != family.text_encoders:
        raise ExportError(
            f"{path} has the text encoders {', '.join(found)}, but its unet is one of {family.title}, which has"
            f" {', '.join(family.text_encoders)}"
        )
