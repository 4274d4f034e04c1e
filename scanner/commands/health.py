"""`memscan health`: whether a run is alive, by the exit code."""

from pathlib import Path

import click

from memscan.scanner.commands.parameters import Duration, LocalPath


@click.command("health", short_help="Say by the exit code whether a run is alive")
@click.argument("out", type=LocalPath())
@click.option(
    "--max-age", type=Duration(), required=True, metavar="TIME", help="Of the last progress, e.g. 90s, 10m or 2h"
)
def command(out: Path, max_age: float) -> int:
    """Say whether the run that writes to OUT is alive: exit code 0 if it is or has ended well, 1 if not.

    \b
    memscan health results --max-age 10m

    Made for HEALTHCHECK and liveness probes. A run says every 15 seconds when its work last advanced, within a batch
    too; give more time than that, and than loading the model and one step of the sampler take.
    """
    from memscan.scanner.health.alive import health

    found = health(out, max_age)
    click.echo(f"{'well' if found.well else 'not well'}: {found.why}")
    return 0 if found.well else 1
