"""Peak memory of a process that only loads a graph in ONNX Runtime and runs it, on one thread.

python -m benchmarks.graph_memory BUNDLE/measure.sliced.onnx --batch 1
"""

import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np

from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime

_DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


@click.command()
@click.argument("graph", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Images in a call")
@click.option("--runs", type=click.IntRange(1), default=1, show_default=True, help="Calls; the fastest is reported")
def main(graph: Path, batch: int, runs: int) -> None:
    """Run GRAPH on random inputs and print its time and the process's peak memory."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    loaded = _peak()
    feed = {value.name: _random(value, batch) for value in session.get_inputs()}
    seconds = []
    for _ in range(runs):
        start = time.process_time()
        outputs = session.run(None, feed)
        seconds.append(time.process_time() - start)
    if not all(np.isfinite(output).all() for output in outputs):
        raise click.ClickException(f"{graph} gave values that are not finite")
    click.echo(f"{graph.name}, batch {batch}: {min(seconds):.1f} s of processor time a call")
    click.echo(f"peak memory {_peak() / 2**30:.2f} GiB, of which loading {loaded / 2**30:.2f} GiB")


def peak_memory(graph: Path, batch: int) -> float:
    """GiB that a fresh process takes at most to load and run `graph` once."""
    command = [sys.executable, "-m", __name__, str(graph), "--batch", str(batch)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(printed.rpartition("peak memory ")[2].split()[0])


def _random(value: onnxruntime.NodeArg, batch: int) -> np.ndarray:
    shape = [size if isinstance(size, int) else batch for size in value.shape]
    if _DTYPES[value.type] is np.int64:
        return np.full(shape, 101)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _peak() -> int:
    """Bytes, as Linux counts them for this program alone: getrusage would count the process that started it too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    main()
