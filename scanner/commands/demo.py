"""`memscan demo`: scan, evaluate and draw with the embedded model, in one go."""

import shlex
from pathlib import Path

import click

from memscan.scanner.notes import note
from memscan.scanner.terminal import printable_lines

_GUIDE = """
Written to {out}:
  sheet.png        look at this first: what was found, beside what is truly memorized
  report.html      the same for a browser: to search, to sort, to look closer
  results/         scores and masks, one row for each image and step
  maps/, images/   the maps behind them, and the images
  figures.json     agreement with the ground truth: all maps, steps and protocols
  prompts.parquet  the manifest that was scanned

Try next:
  {ranking}
  memscan eval {quoted} --ground-truth testbed
  memscan run --prompt "a prompt of your own" --maps --images
  memscan export MODEL my-bundle && memscan run my-prompts.parquet --model my-bundle"""


@click.command("demo", short_help="Scan, evaluate and draw with the embedded model")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("memscan-demo"),
    help="Output folder  [default: memscan-demo]",
)
def command(out: Path) -> int:
    """See it work: scan some held-out prompts of the small embedded model, which truly memorizes.

    \b
    memscan demo --out memscan-demo

    Scores, masks and maps are compared with exact ground truth, and a contact sheet is drawn. Takes a minute or two.
    """
    from memscan.scanner.demo import demo_job
    from memscan.scanner.evaluation.evaluate import evaluate
    from memscan.scanner.evaluation.ground_truth import TESTBED, read_ground_truth
    from memscan.scanner.evaluation.text_table import table
    from memscan.scanner.report.html import html
    from memscan.scanner.results import layout
    from memscan.scanner.results.query import ranking_command
    from memscan.scanner.results.reader import open_results
    from memscan.scanner.results.store import LocalStore
    from memscan.scanner.run.measurement import telling_step
    from memscan.scanner.run.runner import run
    from memscan.scanner.sheet.draw import draw_sheet
    from memscan.scanner.sheet.entries import select

    job = demo_job(out)
    census = job.manifest.census()
    note(f"scanning {census.images} images of {census.rows} prompts with the embedded toy model")
    summary = run(job, note=note)
    results, truth = open_results(out), read_ground_truth(TESTBED)
    evaluation = evaluate(results, truth)
    store = LocalStore(out)
    with store.writing(layout.FIGURES) as stream:
        stream.write(evaluation.to_json().encode())
    step = telling_step(job.bundle, job.measurement)
    selection = select(results, truth, step, limit=census.rows)
    with store.writing(layout.SHEET) as stream:
        draw_sheet(selection).save(stream, "PNG")
    with store.writing(layout.REPORT) as stream:
        stream.write(html(results, step=step, top=census.images, truth=truth).encode())
    shown = [record for record in evaluation.records if (record.step, record.protocol) == (selection.step, "fixed")]
    detected = [one for one in evaluation.detections if (one.step, one.kind) == (selection.step, "all")]
    click.echo(table(shown, detected))
    ranking = ranking_command(out, ["prompt", "seed", "score", "mask_share"], step)
    click.echo(printable_lines(_GUIDE.format(out=out, quoted=shlex.quote(str(out)), ranking=ranking)))
    return 3 if summary.total.error else 0
