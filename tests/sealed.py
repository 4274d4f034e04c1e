"""`memscan` that dies where it, or any library in it, opens a socket: `python -m tests.sealed ARGUMENTS...`.

A seccomp filter ends the process by SIGSYS at the system call `socket`, native code and threads included, but for
sockets within the machine (AF_UNIX: libc asks the name service cache who the user is). It needs no rights, and cannot
be taken off again. Elsewhere than on Linux, Python's own sockets alone are watched.
"""

import ctypes
import os
import platform
import socket
import struct
import sys
from typing import Any

_ARCHITECTURES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""Number of the architecture for the filter, and of the system call `socket`."""
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000


def seal() -> None:
    """Forbid this process and all that it starts to open sockets."""
    socket.has_ipv6 = False  # urllib3 would try it out, with a socket that it binds to ::1 and closes
    if sys.platform == "linux":
        _install(*_ARCHITECTURES[platform.machine()])
    else:
        sys.addaudithook(_refuse_sockets)


def _install(architecture: int, call: int) -> None:
    # (code, jump if true, jump if false, operand). The number of the call lies at 0, that of the architecture at 4, the
    # call's first argument, which is the family, at 16.
    program = [
        (_LOAD, 0, 0, 4),
        (_JUMP_IF_EQUAL, 0, 4, architecture),
        (_LOAD, 0, 0, 0),
        (_JUMP_IF_EQUAL, 0, 3, call),
        (_LOAD, 0, 0, 16),
        (_JUMP_IF_EQUAL, 1, 0, socket.AF_UNIX),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_RETURN, 0, 0, _ALLOW),
    ]
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
    filter_of = struct.pack("@HP", len(program), ctypes.addressof(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SET_SECCOMP, _FILTER, filter_of, 0, 0)):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), f"prctl: {os.strerror(ctypes.get_errno())}")


def _refuse_sockets(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.__new__" and arguments[1] != socket.AF_UNIX:
        os.abort()


if __name__ == "__main__":
    from memscan.scanner.cli import main

    seal()
    main()
