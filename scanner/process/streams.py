"""Standard streams that never stop the work: closed, full, without a reader, or in a narrow encoding.

What is lost of the log is lost. What is lost of standard output, which holds results, is remembered for the exit code,
except where its reader has gone: who reads `| head` has what he wanted.
"""

import codecs
import errno
import io
import os
import sys
from typing import Any, TextIO

_GONE = (errno.EPIPE, errno.ECONNRESET)


def guard_streams() -> None:
    """Replace sys.stdout and sys.stderr. For a process of its own, before it opens any file."""
    _occupy_closed()
    codecs.register_error("memscan.bytes", _bytes_or_escapes)
    sys.stdout = _guarded(1, "memscan.bytes", sys.stdout)
    sys.stderr = _guarded(2, "backslashreplace", sys.stderr)


def lost_output() -> OSError | None:
    """Flush standard output; the error that kept some of it from being written, if it matters."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    error = raw.error if isinstance(raw, _Unfailing) else None
    return None if error is None or error.errno in _GONE else error


class _Unfailing(io.FileIO):
    error: OSError | None = None

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                written = super().write(data)
            except OSError as error:
                self.error = error
            else:
                if written is not None:
                    return written
                self.error = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return memoryview(data).nbytes


def _occupy_closed() -> None:
    """A file opened later must not take the number of a stream: libraries would write their complaints into it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one


def _bytes_or_escapes(error: UnicodeError) -> tuple[bytes, int]:
    """Bytes of file names that are not UTF-8 pass as they are; what the encoding lacks is escaped."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    escaped = (character.encode("ascii", "backslashreplace") for character in text)
    passed = (character.encode("ascii", "surrogateescape") if _is_byte(character) else None for character in text)
    return b"".join(byte or escape for byte, escape in zip(passed, escaped, strict=True)), error.end


def _is_byte(character: str) -> bool:
    return "\udc80" <= character <= "\udcff"


def _guarded(number: int, errors: str, before: TextIO | None) -> io.TextIOWrapper:
    encoding = codecs.lookup(getattr(before, "encoding", None) or "utf-8").name
    if encoding == "ascii":  # of a locale that was never set
        encoding = "utf-8"
    buffer = io.BufferedWriter(_Unfailing(number, "w", closefd=False))
    return io.TextIOWrapper(buffer, encoding, errors, line_buffering=True)
