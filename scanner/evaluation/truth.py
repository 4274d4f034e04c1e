"""What is known of the images of a prompt, whatever file it came from, and how images find it.

kinds      global      verbatim copies: the whole image is memorized
           local       a fixed region in images that vary
           memorized   one of the two, and nobody knows which: detection only
           none        nothing is memorized; what is merely not known is no row of a ground truth at all
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.records import shown

Kind = Literal["global", "local", "memorized", "none"]
KINDS: tuple[Kind, ...] = ("global", "local", "memorized", "none")


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """The truth about a prompt, or about its image of one `seed`, or of the manifest's row `row`.

    `mask` is bool [h, w], None where nobody knows the region. `training_image` is the encoded picture that is copied,
    `retrieved` says that it was found by its likeness and not by the prompt.
    """

    id: str | None
    prompt: str | None
    kind: Kind
    mask: NDArray[np.bool_] | None
    split: str | None = None
    training_image: bytes | None = None
    seed: int | None = None
    row: int | None = None
    retrieved: bool = False


class GroundTruth:
    """Truths, found by what is known of an image: its row, else its id, else its prompt."""

    def __init__(self, truths: Sequence[Truth], remarks: Iterable[str] = (), *, several: bool = False) -> None:
        """Index `truths`.

        Args:
            remarks: what is to be said of the file: its format, and what of it is left out.
            several: an image may have several truths, each of which is scored; else that is an error.

        Raises:
            ValueError: an id is there twice for one seed, or a prompt twice without ids.
        """
        self.truths = tuple(truths)
        self.remarks = tuple(remarks)
        ids: dict[str | None, set[str | None]] = defaultdict(set)
        for one in truths:
            ids[one.prompt].add(one.id)
        by_prompt = [one for one in truths if one.id is None or len(ids[one.prompt] - {None}) == 1]
        self._number = {id(one): number for number, one in enumerate(truths)}
        self._places = {
            "row": self._indexed("row", [one for one in truths if one.row is not None], several),
            "id": self._indexed("id", [one for one in truths if one.id is not None], several),
            "prompt": self._indexed("prompt", [one for one in by_prompt if one.prompt is not None], several),
        }
        captions: dict[tuple[object, ...], int] = {}
        self._captions = [captions.setdefault(_identity(one), number) for number, one in enumerate(truths)]

    @property
    def has_masks(self) -> bool:
        """Whether a region is known of anything."""
        return any(one.mask is not None for one in self.truths)

    def caption(self, index: int) -> int:
        """The identity of the caption to which a truth belongs: the truths of its seeds have it in common."""
        return self._captions[index]

    def find(
        self, id: str | None, prompt: str | None, seed: int | None = None, row: int | None = None
    ) -> tuple[int, ...]:
        """Indices in `truths` of what is known of an image; none if nothing is.

        Where seeds are listed for its id or prompt, only those are known.
        """
        for name, value in (("row", row), ("id", id), ("prompt", prompt)):
            by_seed = self._places[name].get(value) if value is not None else None
            if by_seed is not None:
                return tuple(by_seed.get(seed, ()) if None not in by_seed else by_seed[None])
        return ()

    def _indexed(self, name: str, truths: Iterable[Truth], several: bool) -> dict[object, dict[int | None, list[int]]]:
        found: dict[object, dict[int | None, list[int]]] = {}
        for one in truths:
            value, number = getattr(one, name), self._number[id(one)]
            by_seed = found.setdefault(value, {})
            known = by_seed.get(one.seed, [])
            if known and not several:
                raise ValueError(f"rows {known[0]} and {number} have the same {_said(name, value, one.seed)}")
            if by_seed and (one.seed is None) != (None in by_seed):
                which = _said(name, value, None)
                raise ValueError(f"row {number} and others have the same {which}, and only some of them a seed")
            by_seed.setdefault(one.seed, []).append(number)
        return found


def _identity(truth: Truth) -> tuple[object, ...]:
    return (truth.row,) if truth.row is not None else (truth.id, truth.prompt)


def _said(name: str, value: object, seed: int | None) -> str:
    return f"{name} {shown(value)}" + ("" if seed is None else f" and seed {seed}")
