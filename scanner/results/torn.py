"""Parquet files of an output folder, opened by us: what is torn is told apart from what the disk would not give.

A path is never handed to pyarrow: it would take a colon for a URI, and a name that is not UTF-8 for none at all. An
error of the disk comes out of our own stream with its number; broken content is an Arrow error, or an OSError without.
"""

import contextlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from memscan.scanner.results.store import Store


class Torn(Exception):
    """A file has no footer, or a page fails its checksum; the text says which, in one line."""


@contextlib.contextmanager
def parquet(store: Store, name: str) -> Iterator[pq.ParquetFile]:
    """Open a file, to be read with the checksums of its pages.

    Raises:
        Torn: here or in the block, the file is not whole.
        FileNotFoundError: there is none.
        OSError, MemoryError: it cannot be read, whole or not.
    """
    with (
        store.open(name) as stream,
        told_apart(),
        pq.ParquetFile(stream, page_checksum_verification=True, pre_buffer=False) as file,
    ):
        yield file


@contextlib.contextmanager
def told_apart() -> Iterator[None]:
    """Turn what pyarrow raises for broken content into `Torn`; all else is left as it is."""
    try:
        yield
    except MemoryError:
        raise
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise Torn(_line(error)) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise Torn(_line(error)) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
