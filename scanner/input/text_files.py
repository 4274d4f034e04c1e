"""CSV and JSONL manifests, read line by line. A line that cannot be read becomes one bad row, never a missing one.

CSV has no types: prompts, ids and carried columns are text as written, and a seed is an integer or a JSON list of
integers. JSONL carries JSON's types; those of the columns to be carried are found by reading the whole file once.
"""

import csv
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from memscan.scanner.errors import ManifestError
from memscan.scanner.input.columns import OPTIONAL, Columns
from memscan.scanner.input.rows import RawRow

_BLOCK_ROWS = 1024
_LONGEST_FIELD = 1 << 24


class CsvSource:
    """One CSV file with a header line, UTF-8, fields quoted as in RFC 4180. An empty seed, id or image is none."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self.path = path
        self._columns = columns
        csv.field_size_limit(_LONGEST_FIELD)
        lines = self._lines()
        self._header = next(lines, (1, []))[1]
        columns.require(path, self._header)
        used = [columns.prompt, *(name for name in OPTIONAL if name in self._header), *columns.carry]
        self.types = {name: pa.string() for name in used}
        self.num_rows = sum(1 for _ in lines)

    def rows(self, start: int, stop: int, *, images: bool) -> Iterator[RawRow]:
        """The rows `start` to `stop` - 1 in order. `images` False leaves out the image."""
        for number, fields in itertools.islice(self._lines(), start + 1, stop + 1):  # the header is line 0
            if len(fields) != len(self._header):
                problem = f"line {number} has {len(fields)} fields where the header has {len(self._header)}"
                yield self._bad_row(problem)
                continue
            if not _is_unicode("".join(fields)):
                yield self._bad_row(f"line {number} is not UTF-8")
                continue
            values = dict(zip(self._header, fields, strict=True))
            yield RawRow(
                folder=self.path.parent,
                prompt=values[self._columns.prompt],
                seed=_parsed_seed(values.get("seed", "")),
                id=values.get("id") or None,
                image=(values.get("image") or None) if images else None,
                carried={name: values[name] for name in self._columns.carry},
            )

    def _bad_row(self, problem: str) -> RawRow:
        return RawRow(self.path.parent, carried=dict.fromkeys(self._columns.carry), problem=problem)

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        with self.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            try:
                for fields in reader:
                    if fields:
                        yield reader.line_num, fields
            except csv.Error as error:
                raise ManifestError(f"{self.path}: line {reader.line_num} is not CSV ({error})") from error


class JsonlSource:
    """One file of JSON objects, one on each line; empty lines are no rows. `types` holds those of carried columns."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self.path = path
        self._columns = columns
        self.num_rows = 0
        names: dict[str, None] = {}
        first_problem = None
        for values, problem in self._lines():
            self.num_rows += 1
            first_problem = first_problem or problem
            names.update(dict.fromkeys(values))
        if first_problem and not names:
            raise ManifestError(f"{path} is not JSON lines ({first_problem})")
        if self.num_rows:
            columns.require(path, list(names))
        self.types = {name: self._type_of(name) for name in columns.carry}

    def rows(self, start: int, stop: int, *, images: bool) -> Iterator[RawRow]:
        """The rows `start` to `stop` - 1 in order; the lines before are not parsed. `images` False leaves it out."""
        for values, problem in self._lines(start, stop):
            yield RawRow(
                folder=self.path.parent,
                prompt=values.get(self._columns.prompt),
                seed=values.get("seed"),
                id=values.get("id"),
                image=values.get("image") if images else None,
                carried={name: values.get(name) for name in self._columns.carry},
                problem=problem,
            )

    def _lines(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[dict[str, Any], str | None]]:
        with self.path.open("rb") as stream:
            filled = ((number, line) for number, line in enumerate(stream, start=1) if line.strip())
            for number, line in itertools.islice(filled, start, stop):
                try:
                    values = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                except (ValueError, RecursionError) as error:
                    yield {}, f"line {number} is not JSON: {error}"
                    continue
                if not isinstance(values, dict):
                    yield {}, f"line {number} is no JSON object"
                elif not _is_unicode(json.dumps(values, ensure_ascii=False)):
                    yield {}, f"line {number} holds half a surrogate pair, which is no text"
                else:
                    yield values, None

    def _type_of(self, name: str) -> pa.DataType:
        """The one Arrow type that holds every value of a column exactly; this reads the whole file twice."""
        kind = pa.null()
        try:
            for block in self._blocks(name):
                schemas = [pa.schema([(name, kind)]), pa.schema([(name, pa.array(block).type)])]
                kind = pa.unify_schemas(schemas, promote_options="permissive").field(name).type
            for block in self._blocks(name):
                pa.array(block, kind)  # an early integer may be too large for a float that came later
        except (pa.ArrowException, OverflowError) as error:
            raise ManifestError(
                f"{self.path}: column {name!r} cannot be carried, its values have no common type"
            ) from error
        if pa.types.is_nested(kind.value_type if pa.types.is_list(kind) else kind):
            raise ManifestError(f"{self.path}: column {name!r} is {kind}; only flat columns can be carried")
        return kind

    def _blocks(self, name: str) -> Iterator[list[Any]]:
        values = (values.get(name) for values, _ in self._lines())
        while block := list(itertools.islice(values, _BLOCK_ROWS)):
            yield block


def _parsed_seed(text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else None
    except ValueError:
        return text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
