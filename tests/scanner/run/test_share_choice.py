"""Which share a process has, named or numbered by its scheduler; never a guess."""

import pytest

from memscan.scanner.errors import UsageError
from memscan.scanner.run.share import Share
from memscan.scanner.run.share_choice import choose_share


def array(task: int, *, count: int, least: int, most: int, step: int = 1) -> dict[str, str]:
    """What Slurm sets for a task of an array."""
    values = {"ID": task, "COUNT": count, "MIN": least, "MAX": most, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("text", "environment", "share"),
    {
        "named": ("2/4", {}, Share(2, 4)),
        "named in a job": ("2/4", {"JOB_COMPLETION_INDEX": "0"}, Share(2, 4)),
        "job": ("auto/4", {"JOB_COMPLETION_INDEX": "3"}, Share(3, 4)),
        "array from 0": ("auto", array(7, count=8, least=0, most=7), Share(7, 8)),
        "array from 1": ("auto", array(8, count=8, least=1, most=8), Share(7, 8)),
        "array with steps": ("auto", array(20, count=3, least=10, most=20, step=5), Share(2, 3)),
        "two tasks of an array again": ("auto/8", array(7, count=2, least=3, most=7), Share(7, 8)),
    }.values(),
)
def test_share_is_found(text: str, environment: dict[str, str], share: Share) -> None:
    assert choose_share(text, environment) == share


@pytest.mark.parametrize(
    ("text", "environment", "error"),
    {
        "no form": ("first", {}, r"--share first: expected I/N, counted from 0, such as 0/4; auto/N; or auto"),
        "no count": ("3", {}, "expected I/N"),
        "signed": ("-1/4", {}, "expected I/N"),
        "counted from 1": ("4/4", {}, "share 4 of 4: shares are counted from 0 to 3"),
        "none": ("0/0", {}, "share 0 of 0"),
        "no scheduler": ("auto", {}, "neither JOB_COMPLETION_INDEX nor SLURM_ARRAY_TASK_ID is set"),
        "two schedulers": (
            "auto/4",
            {"JOB_COMPLETION_INDEX": "0", "SLURM_ARRAY_TASK_ID": "0"},
            "both JOB_COMPLETION_INDEX and SLURM_ARRAY_TASK_ID are set",
        ),
        "job without its size": (
            "auto",
            {"JOB_COMPLETION_INDEX": "0"},
            "say --share auto/N, where N is the Job's comp",
        ),
        "index that is none": ("auto/4", {"JOB_COMPLETION_INDEX": "x"}, "JOB_COMPLETION_INDEX is 'x', not a number"),
        "index beyond": ("auto/4", {"JOB_COMPLETION_INDEX": "4"}, "share 4 of 4"),
        "some tasks again": ("auto", array(7, count=2, least=3, most=7), "the tasks of this array are not evenly numb"),
        "array without its size": ("auto", {"SLURM_ARRAY_TASK_ID": "0"}, "SLURM_ARRAY_TASK_COUNT is not set"),
        "steps of none": ("auto", array(0, count=1, least=0, most=0, step=0), "are not evenly numbered"),
    }.values(),
)
def test_what_names_no_share_is_refused(text: str, environment: dict[str, str], error: str) -> None:
    with pytest.raises(UsageError, match=error):
        choose_share(text, environment)
