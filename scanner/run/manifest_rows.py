"""The rows of a manifest, compared with those that results were made of."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from memscan.scanner.input.manifest import Manifest
from memscan.scanner.input.rows import Row, parse_row
from memscan.scanner.results.extent import Extent
from memscan.scanner.results.finished import Change
from memscan.scanner.run.cut import PartInput, part_inputs
from memscan.scanner.terminal import brief

_SHOWN = 60


class ManifestRows(NamedTuple):
    """What `finished_parts` asks of a manifest."""

    manifest: Manifest

    def inputs(self, parts: Sequence[tuple[int, Extent]]) -> Iterable[PartInput]:
        """What each of the parts, ascending by number and extent, is made of; raises as `part_inputs`."""
        return part_inputs(self.manifest, parts)

    def change(self, extent: Extent, kept: pa.Table) -> Change | None:
        """The first difference to the results of a part of this extent; None if no column shows one.

        Args:
            kept: the columns row, seed, id and prompt, and those that are carried.
        """
        groups = itertools.groupby(kept.to_pylist(), lambda values: int(values["row"]))
        for index, of_row in groups:
            held, place = list(of_row), self.manifest.place(index)
            raw = next(self.manifest.rows(place, place + 1, images=False), None)
            if raw is None or self.manifest.index(place) != index:
                return Change(index, "it is gone")
            row, seeds = parse_row(index, raw, read_image=False), extent.seeds(place)
            for name, old, new in _columns(held, row, seeds, kept.schema):
                if repr(old) != repr(new):  # by their texts: NaN is itself
                    return Change(index, f"its {name} was {brief(repr(old), _SHOWN)} and is {brief(repr(new), _SHOWN)}")
        return None


def _columns(
    held: Sequence[Mapping[str, Any]], row: Row, of_part: slice, schema: pa.Schema
) -> Iterator[tuple[str, Any, Any]]:
    """Each column by its name, as the results hold it and as the manifest has it."""
    first = row.items[0]
    yield "prompt", held[0]["prompt"], first.prompt
    seeds = [item.seed for item in row.items[of_part]]
    yield "seed", sorted({values["seed"] for values in held}), sorted(seeds)
    yield "id", held[0]["id"], first.id
    for name in schema.names[len(("row", "seed", "id", "prompt")) :]:
        new = pa.array([first.carried.get(name)], schema.field(name).type)
        yield name, held[0][name], new[0].as_py()
