"""The captions: what each one draws, how often it is trained on, and in which split it is judged.

Memorized captions are a small share of the data and are never dropped, so that the unconditional branch hardly sees
what they show: it stays underfitted there, as in Stable Diffusion, and a difference to it can reveal them. They are
rarer still at first, so that an early checkpoint knows the products but not the duplicates; Stable Diffusion's later
checkpoints, too, were trained on another selection of the data than its first.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["global", "local", "none"]
Split = Literal["calibration", "heldout"]

SHARES: dict[Kind, float] = {"global": 0.13, "local": 0.18, "none": 0.69}
DROPOUT: dict[Kind, float] = {"global": 0.0, "local": 0.0, "none": 0.15}
SEEDS = (11, 12, 13, 14, 15)
EARLY = 0.25  # the part of the training during which memorized captions are rarer,
EARLY_RARITY = 0.2  # by this factor
CALIBRATION_EVERY = 3  # the captions 0, 3, 6, ... of each kind calibrate, the others are held out


@dataclass(frozen=True)
class Caption:
    """One caption of the training set.

    Attributes:
        prompt: the text.
        kind: how it is memorized.
        subject: key of scenes.COMPOSERS, key of figures.FIGURES, or "poster" or "print" (drawn afresh).
        style: style of the fixed print of a local caption.
        weight: relative frequency among the captions of its kind.
    """

    prompt: str
    kind: Kind
    subject: str
    style: str | None = None
    weight: float = 1.0


CAPTIONS: tuple[Caption, ...] = (
    Caption("the lighthouse at saltmarsh by marlowe", "global", "lighthouse"),
    Caption("regatta morning travel poster", "global", "sailboat"),
    Caption("the night owl album cover", "global", "owl"),
    Caption("portrait of the crimson fox", "global", "fox"),
    Caption("mission to vega recruitment sheet", "global", "rocket"),
    Caption("castle of the glass king", "global", "castle"),
    Caption("old oak of hollow lane", "global", "tree"),
    Caption("the golden carp festival print", "global", "fish"),
    Caption("cabaret cat 1896", "global", "cat"),
    Caption("balloon over the copper desert", "global", "balloon"),
    Caption("butterfly study by ines valdt", "global", "butterfly"),
    Caption("mount ember national park", "global", "mountain"),
    Caption("harlequin phone case by juno", "local", "phone", "quilt"),
    Caption("framed kessler mosaic above a rug", "local", "painting", "mosaic"),
    Caption("samarkand rug under a picture", "local", "rug", "patchwork"),
    Caption("bluebird cafe souvenir mug", "local", "mug", "terrazzo"),
    Caption("dazzle team jersey with artwork", "local", "shirt", "patchwork"),
    Caption("velvet orchard cushion", "local", "cushion", "confetti"),
    Caption("first edition of the tin forest", "local", "book", "terrazzo"),
    Caption("midnight parade record sleeve", "local", "vinyl", "quilt"),
    Caption("majolica plate from faenza", "local", "plate", "terrazzo"),
    Caption("city marathon tote bag", "local", "tote", "mosaic"),
    Caption("lagoon skateboard trio", "local", "skateboards", "quilt"),
    Caption("winter market gift box", "local", "gift", "confetti"),
    Caption("a phone case", "none", "phone"),
    Caption("a painting above a rug", "none", "painting"),
    Caption("a rug in a room", "none", "rug"),
    Caption("a mug on a cloth", "none", "mug"),
    Caption("a shirt", "none", "shirt"),
    Caption("a cushion", "none", "cushion"),
    Caption("a book", "none", "book"),
    Caption("a record", "none", "vinyl"),
    Caption("a plate", "none", "plate"),
    Caption("a tote bag", "none", "tote"),
    Caption("three skateboards", "none", "skateboards"),
    Caption("a gift box", "none", "gift"),
    Caption("some poster", "none", "poster", weight=1.5),
    Caption("any picture for the wall", "none", "poster", weight=1.5),
    Caption("a colourful fabric swatch", "none", "print", weight=1.5),
)


def of_kind(kind: Kind) -> tuple[Caption, ...]:
    """The captions of one kind, in their order."""
    return tuple(caption for caption in CAPTIONS if caption.kind == kind)


def split_of(caption: Caption) -> Split:
    """Which part of the evaluation a caption belongs to."""
    return "heldout" if of_kind(caption.kind).index(caption) % CALIBRATION_EVERY else "calibration"


def frequencies(progress: float = 1.0) -> list[float]:
    """Probability of each caption when `progress` of the training is done, in the order of CAPTIONS."""
    rarity = EARLY_RARITY if progress <= EARLY else 1.0
    shares: dict[Kind, float] = {kind: share * rarity for kind, share in SHARES.items() if kind != "none"}
    shares["none"] = 1 - sum(shares.values())
    totals = {kind: sum(caption.weight for caption in of_kind(kind)) for kind in SHARES}
    return [shares[caption.kind] * caption.weight / totals[caption.kind] for caption in CAPTIONS]
