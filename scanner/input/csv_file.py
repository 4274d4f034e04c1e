"""CSV manifests, as programs and as spreadsheets write them. A row that cannot be read is one bad row, never missing.

CSV has no types: prompts, ids and carried columns are text as written, and a seed is an integer or a JSON list of
integers. Fields are separated by what separates those of the header: a comma, semicolon, tab or bar.
"""

import csv
import itertools
import re
from collections.abc import Iterator

import pyarrow as pa

from memscan.scanner.errors import ManifestError
from memscan.scanner.input.columns import PICTURES, Columns, fold
from memscan.scanner.input.input_file import InputFile
from memscan.scanner.input.reading import Reading
from memscan.scanner.input.rows import RawRow, parsed_seed
from memscan.scanner.input.text_lines import MAX_LINE, encoding_of, is_unicode, lines_of, too_long

_DELIMITERS = ",;\t|"
_SAID = re.compile(r'"?sep=(.)"?\s*')  # the first line by which Excel is told
_OPTIONAL = ("seed", "id", *PICTURES)


class CsvSource:
    """One CSV file with a header line, fields quoted as in RFC 4180. An empty seed, id or image is none."""

    def __init__(self, file: InputFile, columns: Columns, reading: Reading) -> None:
        self.file = file
        csv.field_size_limit(MAX_LINE)
        self._encoding = encoding_of(file, reading.encoding)
        self._said = self._said_delimiter()
        tab = "\t" if file.path.suffix.lower() in (".tsv", ".tab") else None
        self._delimiter = reading.delimiter or self._said or tab or self._sniffed(columns)
        self._blanks = False
        names = self._header(self._delimiter)
        self._blanks = len(names) > 1 and all(name.startswith(" ") for name in names[1:])
        names = self._header(self._delimiter)
        self._names = names
        self.used = columns.resolve(file.path, names, file.partitions)
        self.types = dict.fromkeys([*self.used.roles, *self.used.constants], pa.string())
        self.carried = dict.fromkeys(columns.carry, pa.string())
        self.num_rows = garbled = 0
        for _, fields in self._rows(self._delimiter):
            self.num_rows += 1
            garbled += not is_unicode("".join(fields))
        self.remarks: tuple[str, ...] = (_remark(file, self._encoding, garbled),) if garbled else ()

    def rows(self, start: int, stop: int, *, images: bool) -> Iterator[RawRow]:
        """The rows `start` to `stop` - 1 in order. `images` False leaves out the pictures."""
        roles = {role: name for role, name in self.used.roles.items() if images or role not in PICTURES}
        places = {role: self._names.index(name) for role, name in roles.items()}
        carry = {to: self._names.index(name) for to, name in self.used.carry.items()}
        for number, fields in itertools.islice(self._rows(self._delimiter), start, stop):
            if len(fields) != len(self._names):
                yield self._bad_row(f"line {number} has {len(fields)} fields where the header has {len(self._names)}")
                continue
            if not is_unicode("".join(fields)):
                yield self._bad_row(f"line {number} is not {_shown(self._encoding)}")
                continue
            values = {role: fields[place] or None for role, place in places.items() if role in _OPTIONAL}
            if "seed" in values:
                values["seed"] = parsed_seed(values["seed"] or "")
            if "prompt" in places:
                values["prompt"] = fields[places["prompt"]]
            carried = {to: fields[place] for to, place in carry.items()} | self.used.carried_constants
            yield RawRow(folder=self.file.folder, carried=carried, **values, **self.used.constants)

    def _bad_row(self, problem: str) -> RawRow:
        return RawRow(self.file.folder, carried=dict.fromkeys(self.carried), problem=problem)

    def _rows(self, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        return itertools.islice(self._records(delimiter), 1, None)

    def _header(self, delimiter: str) -> list[str]:
        return next(self._records(delimiter), (1, []))[1]

    def _records(self, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        """Line number and fields of each record, the header first; empty lines are none."""
        skipped = 1 if self._said else 0
        lines = itertools.islice(self._lines(), skipped, None)
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=self._blanks, strict=True)
        try:
            for fields in reader:
                if fields:
                    yield reader.line_num + skipped, fields
        except csv.Error as error:
            raise ManifestError(f"{self.file.path}: line {reader.line_num + skipped} is not CSV ({error})") from error

    def _lines(self) -> Iterator[str]:
        for number, line in lines_of(self.file, self._encoding, newline=""):
            if line is None:
                raise ManifestError(f"{self.file.path}: {too_long(number)}, perhaps for want of a closing quote")
            yield line

    def _said_delimiter(self) -> str | None:
        said = _SAID.fullmatch(next(self._lines(), ""))
        return said[1] if said else None

    def _sniffed(self, columns: Columns) -> str:
        """The one delimiter that gives the header several fields, or of several the one that gives a prompt column."""
        self._blanks = True
        headers = {}
        for delimiter in _DELIMITERS:
            try:
                headers[delimiter] = self._header(delimiter)
            except ManifestError:
                continue
        several = [delimiter for delimiter, names in headers.items() if len(names) > 1]
        prompt = fold(columns.prompt or "prompt")
        if len(several) > 1:
            several = [one for one in several if prompt in map(fold, headers[one])] or several
        if len(several) > 1:
            raise ManifestError(
                f"{self.file.path} has a header that {' or '.join(map(repr, several))} may separate: say --delimiter"
            )
        return several[0] if several else ","


def _remark(file: InputFile, encoding: str, garbled: int) -> str:
    lines = "1 row is" if garbled == 1 else f"{garbled} rows are"
    return (
        f"{file.path}: {lines} not {_shown(encoding)}, an error row each: if the file is Latin-1, say --encoding cp1252"
    )


def _shown(encoding: str) -> str:
    return "UTF-8" if encoding in ("utf-8", "utf-8-sig") else encoding
