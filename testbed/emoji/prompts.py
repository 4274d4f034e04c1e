"""Prompts that are no captions: paraphrases, halves and pairs of the captions shown most often, and unrelated words."""

from itertools import pairwise

from testbed.bench.grades import COUNTS
from testbed.emoji.artwork import Artwork
from testbed.emoji.captions import PAIR, all_prompts, commons, graded
from testbed.graded.prompts import UNRELATED, Other

FROM = COUNTS[-3]  # captions shown at least as often are varied


def others(artwork: Artwork, seed: int) -> tuple[Other, ...]:
    """The prompts of one seed of the bench, none of which is a caption of any emoji."""
    captions = graded(artwork, seed)
    taken = set(all_prompts(captions, commons(artwork)))
    often = [caption for caption in captions if caption.kind != "rare" and caption.count >= FROM]
    found: list[Other] = []
    for caption in often:
        name = artwork.names[caption.emoji]
        turned = f"a friend and the {name}" if caption.pair else f"picture of the {name}"
        found.append(Other("paraphrase", turned))
        found += [Other("half", word + PAIR * caption.pair) for word in name.split()[:1] if " " in name]
    found += [Other("joined", f"{a.prompt} and {b.prompt}") for a, b in list(pairwise(often))[::3]]
    found += [Other("unrelated", prompt) for prompt in UNRELATED]
    return tuple({other.prompt: other for other in found if other.prompt not in taken}.values())
