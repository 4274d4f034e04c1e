"""Lists of prompts: those of Wen, Asthana and MemBench, which are all memorized, and NeMo's, which has types."""

from pathlib import Path
from typing import Any

from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.formats.fields import PROMPT, named, prompt_of, said
from memscan.scanner.evaluation.formats.merge import ALL, merged
from memscan.scanner.evaluation.formats.table import Table
from memscan.scanner.evaluation.truth import Kind, Truth
from memscan.scanner.terminal import listed

_NEMO: dict[str, Kind] = {"VM": "global", "TM": "local"}
_NOT = ("nmem", "nonmem", "non_mem", "unmem", "not_mem", "negative")
"""What is in the names of lists of prompts that are not memorized."""


def read_prompts(table: Table, *, is_sure: bool = False) -> tuple[list[Truth], list[str]]:
    """Memorized prompts: where in an image, and for which seeds, nobody says.

    Args:
        is_sure: somebody said that it is such a list, whatever its name.

    Raises:
        UsageError: there is no column of prompts, a row has none, or the file's name says that they are not memorized.
    """
    if not is_sure:
        _check_name(table.path)
    prompts = _prompts(table)
    truths = merged([Truth(None, prompt, "memorized", None) for prompt in prompts], each=False)
    return truths, [_counted(len(prompts), len(truths)) + ", all taken as memorized, whatever the seed"]


def read_nemo(table: Table) -> tuple[list[Truth], list[str]]:
    """NeMo's memorized prompts: type VM is a verbatim copy, TM a template of which no mask is known.

    Raises:
        UsageError: a column is missing, or a row cannot be right.
    """
    name = named(table.names, ("type",))
    if name is None:
        raise UsageError(f"{table.path} has no column type, as NeMo's list has")
    prompts, types = _prompts(table), table.columns([name])[name]
    truths = []
    for number, (prompt, kind) in enumerate(zip(prompts, types, strict=True)):
        if kind not in _NEMO:
            raise UsageError(f"{table.path}: row {number}: type is {said(kind)}, not one of {', '.join(_NEMO)}")
        truths.append(Truth(None, prompt, _NEMO[kind], ALL if kind == "VM" else None))
    found = merged(truths, each=False)
    templates = sum(one.kind == "local" for one in found)
    return found, [
        _counted(len(prompts), len(found))
        + f", {templates} of them templates without a mask: only detection is evaluated of these"
    ]


def read_negatives(table: Table) -> list[str]:
    """Prompts of which nothing is memorized, each once.

    Raises:
        UsageError: there is no column of prompts, or a row has none.
    """
    return list(dict.fromkeys(_prompts(table)))


def _prompts(table: Table) -> list[str]:
    name = named(table.names, PROMPT)
    if name is None:
        raise UsageError(
            f"{table.path} has no column of prompts ({', '.join(PROMPT)}); it has"
            f" {listed(table.names, len(table.names))}"
        )
    return [_prompt(table.path, number, value) for number, value in enumerate(table.columns([name])[name])]


def _prompt(path: Path, number: int, value: Any) -> str:
    try:
        return prompt_of(value)
    except ValueError as error:
        raise UsageError(f"{path}: row {number}: {error}") from error


def _check_name(path: Path) -> None:
    name = path.stem.lower()
    if any(part in name for part in _NOT):
        raise UsageError(
            f"{path} is by its name a list of prompts that are not memorized: give it as --negatives, or say"
            " --format prompts"
        )


def _counted(rows: int, prompts: int) -> str:
    return f"{prompts} prompts" + ("" if rows == prompts else f" in {rows} rows")
