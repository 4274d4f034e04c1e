"""Results that a page is made of in the tests, and the page taken apart by a parser that reads HTML as browsers do."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import html5lib
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from memscan.scanner.samples import MeasuredStep, Rejected
from tests.scanner.results.fabricated import scanned, write_results

HOSTILE = (
    "<script>window.pwned = 1</script>",
    "</script><script>window.pwned = 2</script>",
    "\"'><img src=x onerror='window.pwned = 3'>",
    "'}]' data-flagged='yes' onmouseover='window.pwned = 4",
    "</style><style>body { display: none }</style> {{ 7 * 7 }} <!-- -->",
    "evil \u202egnp.exe\u2066 \x1b[2J\x07",
)
SCRIPTS = (
    "ein süßer Fuchs",
    "一只狐狸在雪地里",
    "狐の肖像画",
    "여우 한 마리",
    "ثعلب في الثلج",
    "שועל בשלג",
    "🦊 in snow",
)
UNCALIBRATED = MeasuredStep(49, 1, 0.25, None, False)


def level(value: float, *, part: bool = False) -> dict[str, NDArray[np.float32]]:
    """A map of this value, all over or in its upper half alone."""
    values = np.full((16, 16), value, np.float32)
    if part:
        values[8:] = 0
    return {"dh_uncond": values}


def png(colour: tuple[int, int, int]) -> bytes:
    """A picture of 64 x 64 pixels of one colour."""
    content = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(content, "PNG")
    return content.getvalue()


def hostile_results(folder: Path) -> Path:
    """Prompts that attack the page, prompts of several scripts, a carried column of both, and an error row."""
    prompts = [*HOSTILE, *SCRIPTS]
    items = [
        scanned(row, prompt, level(0.9 - 0.05 * row), id=f"id-{prompt}", carried={"<b>tag": f"value {prompt}"})
        for row, prompt in enumerate(prompts)
    ]
    images = {(row, 0): png((20 * row, 90, 200)) for row in range(len(prompts))}
    failed = Rejected(len(prompts), 0, None, "prompt is <script>window.pwned = 5</script>")
    return write_results(folder, [*items, failed], images=images, carried={"<b>tag": pa.string()})


def plain_results(folder: Path, values: Mapping[str, float], **options: Any) -> Path:
    """An image for each prompt, whose map is this value everywhere."""
    items = [scanned(row, prompt, level(value)) for row, (prompt, value) in enumerate(values.items())]
    return write_results(folder, items, **options)


def parsed(text: str) -> Element:
    """The tree of a page, without namespaces."""
    tree: Element = html5lib.parse(text, namespaceHTMLElements=False)
    return tree


def words(element: Element) -> str:
    """All text below an element, blanks joined."""
    return " ".join(" ".join(element.itertext()).split())


def of_class(tree: Element, name: str) -> list[Element]:
    """The elements that have a class."""
    return [one for one in tree.iter() if name in one.get("class", "").split()]
