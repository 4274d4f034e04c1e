"""JSONL manifests: one JSON object on each line, with JSON's types. A line that cannot be read is one bad row.

The types of the columns to be carried are found by reading the whole file once.
"""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from memscan.scanner.errors import ManifestError
from memscan.scanner.input.columns import MAX_NAMES, NO_COLUMNS, PICTURES, Columns
from memscan.scanner.input.input_file import InputFile
from memscan.scanner.input.reading import Reading
from memscan.scanner.input.rows import RawRow
from memscan.scanner.input.text_lines import encoding_of, is_unicode, lines_of, too_long
from memscan.scanner.terminal import brief

_BLOCK_ROWS = 1024


class JsonlSource:
    """One file of JSON objects, one on each line; empty lines are no rows. JSON gives roles no types."""

    def __init__(self, file: InputFile, columns: Columns, reading: Reading) -> None:
        self.file = file
        self.remarks: tuple[str, ...] = ()
        self._encoding = encoding_of(file, reading.encoding)
        self.num_rows = 0
        names: dict[str, None] = {}
        first_problem = None
        for values, problem in self._objects():
            self.num_rows += 1
            first_problem = first_problem or problem
            if len(names) + len(values) < MAX_NAMES:
                names.update(dict.fromkeys(values))
            else:
                names.update(dict.fromkeys(name for name in values if columns.may_use(name)))
        if first_problem and not names:
            raise ManifestError(f"{file.path} is not JSON lines ({first_problem})")
        self.used = columns.resolve(file.path, list(names), file.partitions) if self.num_rows else NO_COLUMNS
        self.types = dict.fromkeys(self.used.constants, pa.string())
        self.carried = {to: self._type_of(name) for to, name in self.used.carry.items()}
        self.carried |= dict.fromkeys(self.used.carried_constants, pa.string())

    def rows(self, start: int, stop: int, *, images: bool) -> Iterator[RawRow]:
        """The rows `start` to `stop` - 1 in order; lines before them are not parsed. `images` False leaves them out."""
        roles = {role: name for role, name in self.used.roles.items() if images or role not in PICTURES}
        for values, problem in self._objects(start, stop):
            yield RawRow(
                folder=self.file.folder,
                **{role: values.get(name) for role, name in roles.items()},
                **self.used.constants,
                carried={to: values.get(name) for to, name in self.used.carry.items()} | self.used.carried_constants,
                problem=problem,
            )

    def _objects(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[dict[str, Any], str | None]]:
        lines = lines_of(self.file, self._encoding)
        filled = ((number, line) for number, line in lines if line is None or not line.isspace())
        for number, line in itertools.islice(filled, start, stop):
            yield _parsed(number, line)

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
                f"{self.file.path}: column {name!r} cannot be carried, its values have no common type"
            ) from error
        if pa.types.is_nested(kind.value_type if pa.types.is_list(kind) else kind):
            shown = brief(str(kind))
            raise ManifestError(f"{self.file.path}: column {name!r} is {shown}; only flat columns can be carried")
        return kind

    def _blocks(self, name: str) -> Iterator[list[Any]]:
        values = (values.get(name) for values, _ in self._objects())
        while block := list(itertools.islice(values, _BLOCK_ROWS)):
            yield block


def _parsed(number: int, line: str | None) -> tuple[dict[str, Any], str | None]:
    if line is None:
        return {}, too_long(number)
    try:
        values = json.loads(line.encode("utf-8", "surrogateescape").decode())
        spelt = json.dumps(values, ensure_ascii=False)
    except (ValueError, RecursionError) as error:
        return {}, f"line {number} is not JSON: {error}"
    if not isinstance(values, dict):
        return {}, f"line {number} is no JSON object"
    if not is_unicode(spelt):
        return {}, f"line {number} holds half a surrogate pair, which is no text"
    return values, None
