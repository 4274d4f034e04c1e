"""The captions of the graded bench, and how often each one is shown: the grades are counts in steps of two.

Nothing but the count differs between grades: every grade has as many whole posters (global), templates (local) and
captions that are as rare but whose pictures are fresh every time (rare); products, figures and styles are spread alike.
A seed moves the grades along the captions, so that over seeds one picture is seen at several counts.
"""

from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Literal

import numpy as np

from testbed.bench.grades import COUNTS, STRIDE
from testbed.captions import CALIBRATION_EVERY, CAPTIONS, Caption, Split
from testbed.figures import FIGURES
from testbed.prints import STYLES

Kind = Literal["global", "local", "rare"]

SEED = 77
PER_COUNT: dict[Kind, int] = {"global": 6, "local": 6, "rare": 4}
NOUNS = {
    "phone": "phone case",
    "painting": "painting above a rug",
    "rug": "rug in a room",
    "mug": "mug on a cloth",
    "shirt": "shirt",
    "cushion": "cushion",
    "book": "book",
    "vinyl": "record",
    "plate": "plate",
    "tote": "tote bag",
    "skateboards": "skateboards",
    "gift": "gift box",
}
POSTER = "poster"
NAMES = """
harlequin juno kessler samarkand bluebird cafe souvenir dazzle team velvet orchard tin forest midnight parade majolica
faenza city marathon lagoon winter market marlowe saltmarsh lighthouse regatta morning night owl crimson fox vega castle
glass king hollow lane golden carp festival cabaret cat balloon copper desert butterfly ines valdt mount ember national
park
"""


@dataclass(frozen=True)
class Graded:
    """One caption of the bench.

    Attributes:
        index: position in `graded`, of every seed; it decides prompt and template.
        kind: global, local, or rare: shown as often, but never the same picture twice.
        prompt: the text.
        subject: as in testbed.captions.Caption; that of a rare caption is a product or "poster".
        style: style of the fixed print of a local caption.
        count: how often the training shows it.
    """

    index: int
    kind: Kind
    prompt: str
    subject: str
    style: str | None
    count: int

    @property
    def caption(self) -> Caption:
        """The same as a caption of the testbed, from which its masks follow."""
        return Caption(self.prompt, "none" if self.kind == "rare" else self.kind, self.subject, self.style)

    @property
    def split(self) -> Split:
        """Which part of the evaluation it belongs to: the same for every seed."""
        return "heldout" if self.index % CALIBRATION_EVERY else "calibration"


@cache
def name_pairs() -> tuple[tuple[str, str], ...]:
    """Pairs of words that the testbed's tokenizer knows and that share none of its captions, in a fixed order."""
    known = [set(caption.prompt.split()) for caption in CAPTIONS]
    pairs = [pair for pair in combinations(NAMES.split(), 2) if not any(words >= set(pair) for words in known)]
    order = np.random.default_rng(SEED).permutation(len(pairs))
    return tuple(pairs[i] for i in order)


def _subject(kind: Kind, index: int) -> tuple[str, str | None]:
    products, figures, styles = list(NOUNS), list(FIGURES), list(STYLES)
    if kind == "global":
        return figures[index % len(figures)], None
    if kind == "local":
        return products[index % len(products)], styles[index % len(styles)]
    return (products[index // 2 % len(products)] if index % 2 else POSTER), None


def graded(seed: int) -> tuple[Graded, ...]:
    """All captions of the bench with the counts of one seed; global ones first, then local, then rare."""
    pairs = iter(name_pairs())
    found: list[Graded] = []
    for kind, per_count in PER_COUNT.items():
        for i in range(per_count * len(COUNTS)):
            subject, style = _subject(kind, i)
            prompt = f"{' '.join(next(pairs))} {NOUNS.get(subject, POSTER)}"
            count = COUNTS[(i + STRIDE * seed) % len(COUNTS)]
            found.append(Graded(len(found), kind, prompt, subject, style, count))
    return tuple(found)
