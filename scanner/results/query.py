"""The command that shows the highest scores of a run, to be pasted into a shell: quoted for it, for SQL and for globs.

`pip install duckdb` brings a library and no command, so Python runs it. One noise level is ranked: scores of different
levels are not to be compared.
"""

import glob
import shlex
from collections.abc import Sequence

from memscan.scanner.place import Place

_PROGRAM = "import duckdb, sys; duckdb.sql(sys.argv[1]).show()"


def ranking_command(folder: Place, columns: Sequence[str], step_index: int, limit: int = 10) -> str:
    """A shell command: `columns` of the images with the highest scores at a step, of the output folder `folder`."""
    return shlex.join(["python", "-c", _PROGRAM, ranking_query(folder, columns, step_index, limit)])


def ranking_query(folder: Place, columns: Sequence[str], step_index: int, limit: int = 10) -> str:
    """The SQL of `ranking_command`."""
    parts = f"{glob.escape(str(folder))}/results/*.parquet".replace('"', '""')
    return (
        f'SELECT {", ".join(columns)} FROM "{parts}" WHERE step_index = {step_index} ORDER BY score DESC LIMIT {limit}'
    )
