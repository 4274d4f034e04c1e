"""Which share of a run a process has: the one that is named, or the one that its scheduler has numbered.

I/N      the share I, from 0, of N
auto/N   the share of N whose number is JOB_COMPLETION_INDEX (an Indexed Job of Kubernetes, which does not say how many
         there are) or SLURM_ARRAY_TASK_ID (an array of Slurm), as it stands
auto     the place of SLURM_ARRAY_TASK_ID in its array, which says how many there are
"""

import re
from collections.abc import Mapping

from memscan.scanner.errors import UsageError
from memscan.scanner.run.share import Share
from memscan.scanner.terminal import brief

KUBERNETES, SLURM = "JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID"
_SLURM_ARRAY = tuple(f"SLURM_ARRAY_TASK_{what}" for what in ("COUNT", "MIN", "MAX", "STEP"))
_FORM = re.compile(r"(?P<index>[0-9]{1,9}|auto)(?:/(?P<of>[0-9]{1,9}))?")


def choose_share(text: str, environment: Mapping[str, str]) -> Share:
    """The share that `text` names.

    Args:
        environment: variables of the process.

    Raises:
        UsageError: no such share, or nothing in `environment` that says which.
    """
    found = _FORM.fullmatch(text)
    if found is None or (found["index"] != "auto" and found["of"] is None):
        raise UsageError(f"--share {brief(text)}: expected I/N, counted from 0, such as 0/4; auto/N; or auto")
    if found["index"] != "auto":
        return Share(int(found["index"]), int(found["of"]))
    numbered = [name for name in (KUBERNETES, SLURM) if name in environment]
    if len(numbered) != 1:
        why = f"both {KUBERNETES} and {SLURM} are set" if numbered else f"neither {KUBERNETES} nor {SLURM} is set"
        raise UsageError(f"--share {text}: {why}: say which share this is, such as 0/4")
    if found["of"] is not None:
        return Share(_number(environment, numbered[0]), int(found["of"]))
    if numbered[0] == KUBERNETES:
        raise UsageError(
            "--share auto: a Job of Kubernetes does not say how many shares there are: say --share auto/N, "
            "where N is the Job's completions"
        )
    return _of_array(environment)


def _of_array(environment: Mapping[str, str]) -> Share:
    count, least, most, step = (_number(environment, name) for name in _SLURM_ARRAY)
    if not step or most != least + (count - 1) * step:
        raise UsageError(
            "--share auto: the tasks of this array are not evenly numbered: say --share auto/N, where N is the number "
            "of tasks of the whole array"
        )
    return Share((_number(environment, SLURM) - least) // step, count)


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name)
    if value is None or not re.fullmatch(r"[0-9]{1,9}", value):
        raise UsageError(f"--share: {name} is {'not set' if value is None else brief(repr(value))}, not a number")
    return int(value)
