"""Where everything lies in an output folder: all of its names, relative to it, with slashes. No other file knows them.

results/part-00000.parquet ...           the results; `results/_SUCCESS`, empty, is written last
maps/part-00000.parquet ...              full maps, if asked for
images/00000/{row:08d}-{seed}.png ...    sampled images, if asked for: a folder for each part, so none grows large
_memscan/run.json                        the record of the run
_memscan/summary.json                    what came out, how fast, and by what
_memscan/lock-0-of-1, tmp/0-of-1/        lock and temporary files of a share
_memscan/shares/0-of-1.json              the pulse of a share: how far it is, by its worker
_memscan/probe-...                       for seconds, in an object store: does it keep the first of two?
_memscan/damaged/                        what was set aside, since it is torn or no result names it
"""

import re

RESULTS, MAPS, IMAGES = "results/", "maps/", "images/"
SUCCESS = "results/_SUCCESS"
RECORD = "_memscan/run.json"
SUMMARY = "_memscan/summary.json"
DAMAGED = "_memscan/damaged/"
PULSES = "_memscan/shares/"
PROBE = "_memscan/probe-"

PROMPTS, FIGURES, SHEET, REPORT = "prompts.parquet", "figures.json", "sheet.png", "report.html"
"""What `memscan demo`, `memscan show` and `memscan report` lay beside the results."""

_PART = re.compile(r"(?:results|maps)/part-(\d{5,})\.parquet")
_IMAGE = re.compile(r"images/(\d{5,})/\d{8,}-\d+\.png")


def results_part(number: int) -> str:
    """The results of the part `number`."""
    return f"{RESULTS}part-{number:05d}.parquet"


def maps_part(number: int) -> str:
    """The maps of the part `number`."""
    return f"{MAPS}part-{number:05d}.parquet"


def image_name(row: int, seed: int) -> str:
    """The name of an image within the folder of its part."""
    return f"{row:08d}-{seed}.png"


def image(part: int, name: str) -> str:
    """The image of a part that has a `name` in its folder."""
    return f"{IMAGES}{part:05d}/{name}"


def sheet_of_step(index: int) -> str:
    """The contact sheet of one of several measured steps."""
    return f"sheet-step-{index}.png"


def part_number(name: str) -> int | None:
    """The number of the part whose results or maps a name is; None if it is no such name."""
    found = _PART.fullmatch(name)
    number = int(found[1]) if found else None
    return number if number is not None and name in (results_part(number), maps_part(number)) else None


def part_of_image(name: str) -> int | None:
    """The number of the part to which an image belongs; None if a name is no image's."""
    found = _IMAGE.fullmatch(name)
    return int(found[1]) if found else None


def read_as_table(name: str) -> bool:
    """Whether those who read all Parquet files of `results/` or `maps/` at once would read this one."""
    folder, _, file = name.partition("/")
    return f"{folder}/" in (RESULTS, MAPS) and "/" not in file and file.endswith(".parquet")


def lock(share: str) -> str:
    """The lock of a share, by its name."""
    return f"_memscan/lock-{share}"


def scratch(share: str) -> str:
    """The folder of a share's temporary files."""
    return f"_memscan/tmp/{share}/"


def pulse(share: str) -> str:
    """The pulse of a share, by its name."""
    return f"{PULSES}{share}.json"
