"""The errors of a scan, by who can mend them; the CLI turns each into one line and an exit code.

Messages say what was wrong, where, and what to do next, in one line.
"""


class MemscanError(Exception):
    """Base of every error that memscan raises on purpose. `exit_code` is the process's exit code."""

    exit_code = 1


class EnvironmentFailed(MemscanError):
    """Disk, memory or device failed: the same command may succeed later (exit code 1)."""

    exit_code = 1


class OutOfMemory(EnvironmentFailed):
    """The device has too little memory for this batch: a smaller one may fit."""


class UsageError(MemscanError):
    """Options, manifest, bundle or output folder are wrong: a retry will not help (exit code 2)."""

    exit_code = 2


class ManifestError(UsageError):
    """The manifest as a whole cannot be scanned. A bad row is no such error: it becomes an error row."""


class BundleError(UsageError):
    """The bundle is missing, incomplete, altered, or of another format version."""


class ResumeRefused(UsageError):
    """The output folder holds another run, or input rows have changed since."""


class ExportError(UsageError):
    """A checkpoint cannot be exported, or the exported graph failed its parity check."""


class TooManyErrors(MemscanError):
    """More rows failed than were allowed (exit code 3): what was finished is kept."""

    exit_code = 3


class RowError(Exception):
    """One manifest row cannot be scanned; its text becomes the `error` column of that row's results."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or the name of its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
