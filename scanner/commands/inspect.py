"""`memscan inspect`: what a bundle is."""

import json

import click


@click.command("inspect", short_help="Say what a bundle is")
@click.argument("bundle", metavar="BUNDLE|testbed")
@click.option("--json", "as_json", is_flag=True, help="Print everything, as JSON")
@click.option("--verify", is_flag=True, help="Compare all files with their digests, which reads them whole")
def command(bundle: str, as_json: bool, verify: bool) -> None:
    """Say what BUNDLE is: model, schedule, sizes, graphs, what its derivatives are worth, what a scan costs, and which
    engines can run it here.

    \b
    memscan inspect sd14.bundle
    memscan inspect testbed --json

    Nothing is loaded but the record; no GPU is touched.
    """
    from memscan.scanner.inspection.facts import facts
    from memscan.scanner.inspection.text import text
    from memscan.scanner.model_choice import choose_model

    found = facts(choose_model(bundle).open(verify=verify), verified=verify)
    click.echo(json.dumps(found, indent=1) if as_json else text(found))
