"""Memory that one call takes: what a process grows by at most, in a child that is forked for it and then forgotten.

A child inherits what is loaded and begins with nothing freed that it could use again, so that every call is measured
alike whatever ran before. It has one thread: what is called must not need others.
"""

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path


def call_memory(call: Callable[[], object]) -> int:
    """Bytes by which this process would grow at most while `call` runs.

    Raises:
        RuntimeError: the call failed; what it said is on standard error.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_measure, args=(call, theirs))
    child.start()
    theirs.close()
    try:
        grown: int = ours.recv()
    except EOFError as error:
        raise RuntimeError("a call whose memory was measured failed") from error
    finally:
        child.join()
    return grown


def _measure(call: Callable[[], object], answer: Connection) -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = _status("VmRSS")
        call()
        answer.send(_status("VmHWM") - before)
    except BaseException:
        traceback.print_exc()
        raise


def _status(field: str) -> int:
    return int(Path("/proc/self/status").read_text().partition(f"{field}:")[2].split()[0]) * 1024
