"""What a single file of a transformer lacks is read from the folder that configures it, if it is there."""

from collections.abc import Sequence
from pathlib import Path

from memscan.export.checkpoint.family import Family
from memscan.export.checkpoint.single_file import TITLES, SingleFile
from memscan.scanner.errors import ExportError


def completed(file: SingleFile, family: Family, path: Path, parts: Sequence[str]) -> str:
    """What is to be said of the parts that a single file lacks, or "".

    Args:
        family: of the folder of its configurations, at `path`.
        parts: those that are needed, of the file or of the folder.

    Raises:
        ExportError: the folder is of another family than the file, has no configuration of a part that the file holds,
            or a part is in neither.
    """
    if family.denoiser not in file.prefixes or (file.is_transformer and family.title != TITLES[file.kind]):
        raise ExportError(
            f"{file.path} is one file of {TITLES[file.kind]} by the names of its weights, but {path} is of"
            f" {family.title}: give by --config a folder of {TITLES[file.kind]}"
        )
    if not file.is_transformer:
        return ""
    unconfigured = [part for part in file.prefixes if file.has(part) and part not in family.parts]
    if unconfigured:
        raise ExportError(
            f"{file.path} holds {' and '.join(unconfigured)}, which {path} does not configure: give by --config a"
            f" folder that has {' and '.join(f'{part}/' for part in unconfigured)}, with its config.json and tokenizer"
        )
    lacking = [part for part in parts if not file.has(part)]
    for part in lacking:
        if not any((path / part).glob("*.safetensors*")):
            raise ExportError(_nowhere(file, family, path, part))
    return f"{' and '.join(lacking)}: read from {path}, for the file has none" if lacking else ""


def _nowhere(file: SingleFile, family: Family, path: Path, part: str) -> str:
    others = ""
    if part == "vae":
        others = ", or give its folder by --vae"
    if part in family.optional:
        others = f", or give by --config a folder without {part}/ to export the model without it, as its pipeline may"
    return (
        f"{file.path} holds no {part}, and {path / part} has no weights of it: put them there as safetensors, with its"
        f" config.json{others}"
    )
