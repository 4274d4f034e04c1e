"""What an error of the system means: whose it is to mend, and how."""

import errno

from memscan.scanner.errors import EnvironmentFailed, MemscanError, OutOfMemory, UsageError

_DISK = "mend the disk or device, then run the same command again"
_REMOTE = "see that the object store can be reached, then run the same command again"
_OPEN_FILES = "raise the limit of open files (ulimit -n), then run the same command again"
_PERMISSION = "allow it, or choose another place"
_CHOOSE = "choose another name"

ADVICE: dict[int, tuple[type[MemscanError], str]] = {
    errno.EIO: (EnvironmentFailed, _DISK),
    errno.ENOSPC: (EnvironmentFailed, _DISK),
    errno.EDQUOT: (EnvironmentFailed, _DISK),
    errno.EFBIG: (EnvironmentFailed, _DISK),
    errno.ENXIO: (EnvironmentFailed, _DISK),
    errno.ENODEV: (EnvironmentFailed, _DISK),
    getattr(errno, "EREMOTEIO", -1): (EnvironmentFailed, _REMOTE),
    errno.ESTALE: (EnvironmentFailed, _DISK),
    errno.ENOTCONN: (EnvironmentFailed, _DISK),
    errno.ETIMEDOUT: (EnvironmentFailed, _DISK),
    errno.EMFILE: (EnvironmentFailed, _OPEN_FILES),
    errno.ENFILE: (EnvironmentFailed, _OPEN_FILES),
    errno.EAGAIN: (EnvironmentFailed, "raise the limit of processes (ulimit -u), then run the same command again"),
    errno.EBUSY: (EnvironmentFailed, "run the same command again when nobody else uses it"),
    errno.ENOMEM: (OutOfMemory, "use a larger machine"),
    errno.ENAMETOOLONG: (UsageError, "choose a shorter name"),
    errno.ELOOP: (UsageError, "its links lead in a circle: mend them, or choose another name"),
    errno.ENOTDIR: (UsageError, "a part of this path is no folder: choose another one"),
    errno.ENOENT: (UsageError, "check the path"),
    errno.EEXIST: (UsageError, _CHOOSE),
    errno.ENOTEMPTY: (UsageError, _CHOOSE),
    errno.EISDIR: (UsageError, "give a file, not a folder"),
    errno.ETXTBSY: (UsageError, _CHOOSE),
    errno.EROFS: (UsageError, "mount it for writing, or choose another place"),
    errno.EACCES: (UsageError, _PERMISSION),
    errno.EPERM: (UsageError, _PERMISSION),
    errno.EXDEV: (UsageError, "choose a place on one file system"),
}
"""Class, which gives the exit code, and advice for each number of an error; others are of the environment."""


def explained(error: OSError) -> MemscanError:
    """The error as one of memscan's own, with advice."""
    kind, advice = ADVICE.get(error.errno or 0, (EnvironmentFailed, ""))
    return kind(f"{error}: {advice}" if advice else str(error) or type(error).__name__)
