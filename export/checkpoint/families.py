"""The families that memscan exports; a new one is a file beside this one and a line here."""

from pathlib import Path
from typing import Any

from memscan.export.checkpoint.family import Family
from memscan.export.checkpoint.stable_diffusion import STABLE_DIFFUSION
from memscan.export.checkpoint.stable_diffusion_xl import STABLE_DIFFUSION_XL
from memscan.scanner.errors import ExportError

FAMILIES = (STABLE_DIFFUSION, STABLE_DIFFUSION_XL)


def family_of(path: Path, unet: dict[str, Any], index: dict[str, Any]) -> Family:
    """The family of the checkpoint at `path`.

    Args:
        unet: the configuration of its denoiser.
        index: its `model_index.json`, {} if it has none.

    Raises:
        ExportError: it is of none that memscan can export.
    """
    inputs, outputs = unet.get("in_channels", 4), unet.get("out_channels", 4)
    if inputs != outputs:
        raise ExportError(f"{path / 'unet'} maps {inputs} channels to {outputs} (inpainting?); they must be as many")
    family = next((family for family in FAMILIES if family.recognises(unet)), None)
    if family is None:
        raise ExportError(
            f"{path / 'unet'} has addition_embed_type {unet.get('addition_embed_type')!r}, which memscan cannot export;"
            f" it exports {' and '.join(family.title for family in FAMILIES)}"
        )
    _require_encoders(path, family)
    pipeline = index.get("_class_name")
    if pipeline is not None and pipeline not in family.pipelines:
        raise ExportError(
            f"{path / 'model_index.json'} is of a {pipeline}, which memscan cannot export; of {family.title} it"
            f" exports {', '.join(family.pipelines)}"
        )
    return family


def _require_encoders(path: Path, family: Family) -> None:
    every = {part: None for other in FAMILIES for part in other.text_encoders}
    found = tuple(part for part in every if (path / part).is_dir())
    if found and found[0] != family.text_encoders[0]:
        raise ExportError(f"{path} has only the second of two text encoders (a refiner?), which memscan cannot export")
    if found and found != family.text_encoders:
        raise ExportError(
            f"{path} has the text encoders {', '.join(found)}, but its unet is one of {family.title}, which has"
            f" {', '.join(family.text_encoders)}"
        )
