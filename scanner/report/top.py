"""The highest scores as a table for a terminal: nothing in a prompt steers it, and a line is no wider than it is."""

import unicodedata
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.dataset as ds

from memscan.scanner.report import flags
from memscan.scanner.report.survey import Survey
from memscan.scanner.results.reader import Results
from memscan.scanner.sheet.scale import number, percentage
from memscan.scanner.terminal import brief

_LEAST_PROMPT, _MOST_ID = 20, 24
_WIDE = "WF"


def top_rows(results: Results, found: Survey) -> pa.Table:
    """The rows of a survey's highest scores, the highest first."""
    wanted = ("row", "seed", "id", "prompt", "status", "score", "p_value", "mask_share")
    columns = [name for name in (*wanted, "step_index", "threshold") if name in results.columns]
    here = (ds.field("step_index") == found.step) & ds.field("row").isin([row for row, _ in found.top])
    table = results.rows(columns, here)
    place = {key: at for at, key in enumerate(zip(table["row"].to_pylist(), table["seed"].to_pylist(), strict=True))}
    return table.take([place[key] for key in found.top])


def top_table(results: Results, found: Survey, width: int) -> str:
    """The table in lines of `width` columns of a terminal, of at least one image."""
    table = top_rows(results, found)
    flagged = flags.flagged(table, found.rate)
    heads = {"score": "score", "p_value": "p-value", "mask_share": "mask", "flagged": "", "row": "row", "seed": "seed"}
    heads |= {"id": "id"} if table["id"].null_count < len(table) else {}
    if not flags.has_p_values(table):
        del heads["p_value"]
    cells = []
    for row, flag in zip(table.to_pylist(), flagged.tolist(), strict=True):
        shown = {
            "score": number(row["score"]),
            "p_value": "" if row.get("p_value") is None else f"{row['p_value']:.2g}",
            "mask_share": "-" if row["mask_share"] is None else percentage(row["mask_share"]),
            "flagged": "flagged" if flag else "",
            "row": str(row["row"]),
            "seed": str(row["seed"]),
            "id": brief(row["id"] or "", _MOST_ID),
        }
        cells.append([shown[name] for name in heads])
    lines = _aligned([list(heads.values()), *cells])
    room = max(width - _columns(lines[0]) - 2, _LEAST_PROMPT)
    prompts = ["prompt", *(_cut(text, room) for text in table["prompt"].to_pylist())]
    return "\n".join(f"{line}  {prompt}".rstrip() for line, prompt in zip(lines, prompts, strict=True))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(_columns, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(text + " " * (width - _columns(text)) for text, width in zip(row, widths, strict=True))
        for row in rows
    ]


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    seen = (character for character in text if not unicodedata.combining(character))
    return sum(2 if unicodedata.east_asian_width(character) in _WIDE else 1 for character in seen)


def _cut(text: str, room: int) -> str:
    shown = brief(text, room)
    while _columns(shown) > room:
        shown = f"{shown.removesuffix('...')[:-1]}..."
    return shown
