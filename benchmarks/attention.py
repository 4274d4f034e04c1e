"""What K tangents of attention cost in ONNX Runtime, in attentions without tangents: the bodies side by side.

The unit is the faster of the two forms of the forward pass. Arithmetic sets a floor: self-attention takes two products
of scores and vectors, and four more for each tangent, so that only what a softmax costs brings a tangent below two
units. Cross-attention takes two for each.

    python -m benchmarks.attention --heads 2
"""

import statistics
import time
from collections.abc import Callable

import click
import numpy as np
import onnx_ir as ir

from memscan.export.attention.forward import sliced_forward
from memscan.export.attention.functions import ATTENTION_JVP, ATTENTION_QUERY_JVP, INPUTS, attention_function
from memscan.export.attention.slices import AttentionShape, sliced_attention
from memscan.export.graphs.trace import OPSET
from memscan.export.passes.written_out_attention import WriteOutAttention
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime

SHAPES = {
    "SD 64x64, self": (ATTENTION_JVP, 4096, 4096, 40),
    "SD 32x32, self": (ATTENTION_JVP, 1024, 1024, 80),
    "SD 16x16, self": (ATTENTION_JVP, 256, 256, 160),
    "SD 64x64, text": (ATTENTION_QUERY_JVP, 4096, 77, 40),
    "SD 32x32, text": (ATTENTION_QUERY_JVP, 1024, 77, 80),
    "17.7 M UNet, self": (ATTENTION_JVP, 1024, 1024, 8),
}
"""Name -> function, queries, keys, head size."""
GOALS = {"SD 64x64, self": 1.6, "SD 32x32, self": 1.6}
TANGENTS = 8
LARGEST_SCORES = 2**28
"""Elements of K-fold scores above which the whole body is not run: it holds several tensors of that size."""
WARM_UP = 2

Run = Callable[[], object]


@click.command()
@click.option("--heads", type=click.IntRange(1), default=2, show_default=True, help="Heads in a call; batch is 1")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Timed runs of everything")
def main(heads: int, repeats: int) -> None:
    """Print the cost of attention with 8 tangents as a table."""
    click.echo(
        f"K = {TANGENTS}, batch 1, {heads} heads, one thread, medians of {repeats} interleaved runs, milliseconds"
    )
    click.echo("a tangent: its share of the time beyond a forward pass, in forward passes\n")
    click.echo("| shape             | forward | sliced | tangents, whole | a tangent | sliced | a tangent | goal |")
    click.echo("|-------------------|--------:|-------:|----------------:|----------:|-------:|----------:|-----:|")
    for label, (name, queries, keys, size) in SHAPES.items():
        shape = AttentionShape(TANGENTS, heads, queries, keys, size, size)
        forward, sliced_form, *jvps = _medians(_runs(name, shape), repeats)
        unit = min(forward, sliced_form)
        if shape.scores > LARGEST_SCORES:
            jvps.insert(0, None)
        cells = [cell for seconds in jvps for cell in _cells(seconds, unit)]
        click.echo(
            f"| {label:17} | {1e3 * forward:7.1f} | {1e3 * sliced_form:6.1f} | {cells[0]:>15} | {cells[1]:>9} "
            f"| {cells[2]:>6} | {cells[3]:>9} | {GOALS.get(label, ''):>4} |"
        )


def _cells(seconds: float | None, unit: float) -> tuple[str, str]:
    if seconds is None:
        return "-", "-"
    return f"{1e3 * seconds:.1f}", f"{(seconds - unit) / TANGENTS / unit:.2f}"


def _runs(name: str, shape: AttentionShape) -> list[Run]:
    """The forward pass written out and sliced, and the tangents whole (where they fit) and sliced."""
    generator = np.random.default_rng(0)
    sizes = {"q": (shape.queries, shape.size), "k": (shape.keys, shape.size), "v": (shape.keys, shape.value_size)}
    feed = {key: generator.standard_normal((1, shape.heads, *size), np.float32) for key, size in sizes.items()}
    attention = ir.node("Attention", _inputs(feed))
    written_out = _model(attention, 1)
    WriteOutAttention()(written_out)
    runs = [_run(written_out, feed), _run(_call(sliced_forward(shape), feed, 1), feed)]
    for key in INPUTS[name][3:]:
        primal = feed[key.removesuffix("_dot")]
        feed[key] = generator.standard_normal((shape.tangents, *primal.shape), np.float32)
    functions = [sliced_attention(name, shape)]
    if shape.scores <= LARGEST_SCORES:
        functions.insert(0, attention_function(name))
    return [*runs, *(_run(_call(function, feed, 2), feed) for function in functions)]


def _inputs(feed: dict[str, np.ndarray]) -> list[ir.Value]:
    return [ir.val(name, ir.DataType.FLOAT, array.shape) for name, array in feed.items()]


def _call(function: ir.Function, feed: dict[str, np.ndarray], outputs: int) -> ir.Model:
    scale = feed["q"].shape[-1] ** -0.5
    node = ir.node(
        function.name,
        _inputs(feed),
        {"scale": scale},
        domain=function.domain,
        overload=function.overload,
        num_outputs=outputs,
    )
    model = _model(node, outputs)
    model.functions[function.identifier()] = function
    model.graph.opset_imports[function.domain] = 1
    return model


def _model(node: ir.Node, outputs: int) -> ir.Model:
    """A model of one node; outputs are y and, if there are two, y_dot."""
    q, v = node.inputs[0], node.inputs[2]
    y_shape = [*q.shape[:-1], v.shape[-1]]
    for value, name in zip(node.outputs, ("y", "y_dot")[:outputs], strict=True):
        value.name, value.type = name, ir.TensorType(ir.DataType.FLOAT)
        value.shape = ir.Shape(y_shape if name == "y" else [node.inputs[3].shape[0], *y_shape])
    graph = ir.Graph(node.inputs, node.outputs, nodes=[node], opset_imports={"": OPSET}, name="attention")
    return ir.Model(graph, ir_version=10)


def _run(model: ir.Model, feed: dict[str, np.ndarray]) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda feed=dict(feed): session.run(None, feed)


def _medians(runs: list[Run], repeats: int) -> list[float]:
    seconds: list[list[float]] = [[] for _ in runs]
    for turn in range(WARM_UP + repeats):
        for times, run in zip(seconds, runs, strict=True):
            start = time.process_time()
            run()
            if turn >= WARM_UP:
                times.append(time.process_time() - start)
    return [statistics.median(times) for times in seconds]


if __name__ == "__main__":
    main()
