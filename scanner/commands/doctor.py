"""`memscan doctor`: what this installation has, lacks, and how to get it."""

import json

import click


@click.command("doctor", short_help="Say what this installation lacks, and how to get it")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects: what, state, said, advice")
def command(as_json: bool) -> int:
    """Say what of ONNX Runtime, CUDA, cuDNN, TensorRT and the driver is here, and how to get what is missing.

    \b
    memscan doctor

    Exit code 1 if something is broken, as where onnxruntime hides onnxruntime-gpu. What is missing is no fault on a
    machine without a GPU.
    """
    from memscan.scanner.health.doctor import examine

    findings = examine()
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=1))
    else:
        for finding in findings:
            advice = f": {finding.advice}" if finding.advice else ""
            click.echo(f"{finding.state:<8} {finding.what:<14} {finding.said}{advice}")
    return 1 if any(finding.state == "broken" for finding in findings) else 0
