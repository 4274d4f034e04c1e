"""Parts of a manifest: how its rows are cut, and the digest of what a part was made of."""

import collections
import hashlib
import itertools
from collections.abc import Iterable, Iterator

from memscan.scanner.input.manifest import Manifest
from memscan.scanner.input.rows import RawRow


def cut(manifest: Manifest, shard_rows: int) -> Iterator[tuple[int, Iterator[tuple[int, RawRow]]]]:
    """The manifest's parts: number, and index and content of each row. What is not read of a part is skipped."""
    rows = enumerate(manifest.rows())
    for number in range(-(-manifest.num_rows // shard_rows)):
        part = itertools.islice(rows, shard_rows)
        yield number, part
        collections.deque(part, maxlen=0)


def input_digest(row_digests: Iterable[bytes]) -> str:
    """SHA-256 (hex) of the rows of a part, from theirs."""
    return hashlib.sha256(b"".join(row_digests)).hexdigest()
