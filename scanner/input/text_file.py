"""Text manifests: one prompt on each line. What looks like a table is refused, never scanned as prompts."""

import itertools
from collections.abc import Iterator

import pyarrow as pa

from memscan.scanner.errors import ManifestError
from memscan.scanner.input.columns import Columns
from memscan.scanner.input.input_file import InputFile
from memscan.scanner.input.reading import Reading
from memscan.scanner.input.rows import RawRow
from memscan.scanner.input.text_lines import encoding_of, is_unicode, lines_of, too_long

_LOOKED_AT = 100  # lines


class TextSource:
    """One file of prompts; empty lines are no rows."""

    def __init__(self, file: InputFile, columns: Columns, reading: Reading) -> None:
        self.file = file
        self.remarks: tuple[str, ...] = ()
        self._encoding = encoding_of(file, reading.encoding)
        if reading.format != "text":
            self._refuse_table()
        self.used = columns.resolve(file.path, ["prompt"], file.partitions)
        self.types = dict.fromkeys(["prompt", *self.used.constants], pa.string())
        self.carried = dict.fromkeys(columns.carry, pa.string())
        self.num_rows = sum(1 for _ in self._filled())

    def rows(self, start: int, stop: int, *, images: bool) -> Iterator[RawRow]:
        """The rows `start` to `stop` - 1 in order."""
        for number, line in itertools.islice(self._filled(), start, stop):
            problem = too_long(number) if line is None else None
            if line is not None and not is_unicode(line):
                problem = f"line {number} is not {'UTF-8' if self._encoding.startswith('utf-8') else self._encoding}"
            prompt = line.rstrip("\n") if line is not None and problem is None else None
            carried = dict.fromkeys(self.used.carry, prompt) | self.used.carried_constants
            yield RawRow(self.file.folder, prompt=prompt, carried=carried, problem=problem, **self.used.constants)

    def _filled(self) -> Iterator[tuple[int, str | None]]:
        return ((n, line) for n, line in lines_of(self.file, self._encoding) if line is None or not line.isspace())

    def _refuse_table(self) -> None:
        lines = [line or "" for _, line in itertools.islice(self._filled(), _LOOKED_AT)]
        for delimiter, name in {"\t": "tab", ";": "semicolon", "|": "bar"}.items():
            counts = {line.count(delimiter) for line in lines}
            if len(counts) == 1 and max(counts) > 0 and (delimiter == "\t" or len(lines) > 1):
                raise ManifestError(
                    f"{self.file.path} looks like a table, with a {name} in every line: say --format csv, "
                    "or --format text if each whole line is a prompt"
                )
