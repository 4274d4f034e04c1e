"""`memscan status`: how far a run is, from any machine that can read its output folder."""

import dataclasses
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from memscan.scanner.commands.parameters import AnyPlace
from memscan.scanner.place import Place
from memscan.scanner.run.progress import duration
from memscan.scanner.terminal import printable

if TYPE_CHECKING:
    from memscan.scanner.results.pulse import Pulse
    from memscan.scanner.results.status import Status


@click.command("status", short_help="Say how far a run is")
@click.argument("out", type=AnyPlace())
@click.option("--json", "as_json", is_flag=True, help="One JSON object")
@click.option(
    "--watch",
    type=click.IntRange(30),
    metavar="SECONDS",
    help="Look twice, so long apart, and name the shares that said nothing in between",
)
def command(out: Place, as_json: bool, watch: int | None) -> None:
    """Say how far the run in the folder OUT is: what is done, running and failed, how fast, and until when.

    \b
    memscan status night.memscan
    memscan status night.memscan --json --watch 30

    Reads only. Workers say every 15 seconds how far they are. Ages are by clocks that may differ, and conclude nothing:
    a worker that was killed still counts as working, unless --watch finds it silent.
    """
    from memscan.scanner.results.folder import OutputFolder
    from memscan.scanner.results.status import read_status, silent
    from memscan.scanner.results.store_at import store_at

    folder = OutputFolder(store_at(out))
    status = read_status(folder)
    quiet: tuple[str, ...] | None = None
    if watch is not None:
        time.sleep(watch)
        first, status = status, read_status(folder)
        quiet = silent(first, status)
    click.echo(json.dumps(_record(status, quiet)) if as_json else "\n".join(_lines(str(out), status, quiet)))


def _record(status: "Status", quiet: tuple[str, ...] | None) -> dict[str, object]:
    return {
        "complete": status.complete,
        "parts": status.parts,
        "parts_done": status.done,
        "parts_torn": status.torn,
        "images": status.images,
        "images_done": status.tally.images,
        "images_failed": status.tally.error,
        "images_screened": status.tally.screened,
        "images_per_second": status.rate,
        "seconds_left": status.seconds_left,
        "shares": [dataclasses.asdict(pulse) for pulse in status.pulses],
        "silent_shares": None if quiet is None else list(quiet),
    }


def _lines(out: str, status: "Status", quiet: tuple[str, ...] | None) -> list[str]:
    of = "" if status.parts is None else f" of {status.parts:,}"
    tally = status.tally
    lines = [
        f"{out}: {'complete' if status.complete else 'not complete'}, {status.done:,}{of} parts are done, "
        f"with {tally.images:,} images, {tally.error:,} of them with errors"
        + (f", {tally.screened:,} screened" if tally.screened else "")
    ]
    if status.torn:
        lines.append(f"{status.torn:,} parts are damaged: the command of the run does them again")
    if status.working:
        left = status.seconds_left
        until = "" if left is None else f", about {duration(left)} left at that rate"
        lines.append(f"{len(status.working)} shares say that they are working: {status.rate:.3g} images/s{until}")
    for pulse in status.pulses:
        lines.append(f"  {_share(pulse, quiet)}")
    return lines


def _share(pulse: "Pulse", quiet: tuple[str, ...] | None) -> str:
    state = "silent" if pulse.share in (quiet or ()) else pulse.state
    return printable(
        f"{pulse.share:<10} {state:<8} {int(pulse.finished):,} of {pulse.share_images:,} images, "
        f"{pulse.failed:,} with errors, {pulse.rate:.3g}/s by process {pulse.process} of {pulse.host}, "
        f"{_age(pulse.written)}{'' if pulse.error is None else f': {pulse.error}'}"
    )


def _age(written: str) -> str:
    try:
        age = (datetime.now(UTC) - datetime.fromisoformat(written)).total_seconds()
    except (ValueError, TypeError):
        return "at a time that cannot be read"
    return f"{duration(age)} ago by its clock" if age >= 0 else f"{duration(-age)} ahead by its clock"
