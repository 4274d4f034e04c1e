"""The steps, guided and with the prompt alone, against their formulas, with a denoiser simple enough to write down."""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from memscan.export.graphs.guided import guided_step, unguided_step
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime

SHAPE = (2, 3, 3)
LEVEL = ("timestep", "alpha", "sigma")


def scaled_by_text() -> ir.Model:
    """eps = sample * mean(encoder_hidden_states) + timestep * sigma + alpha: depends on all inputs, image by image."""
    sample = ir.val("sample", ir.DataType.FLOAT, ["N", *SHAPE])
    level = [ir.val(name, ir.DataType.FLOAT, ["N"]) for name in LEVEL]
    states = ir.val("encoder_hidden_states", ir.DataType.FLOAT, ["N", 5, 4])
    graph = ir.Graph([sample, *level, states], [], nodes=[], opset_imports={"": 23}, name="denoiser")
    tape = ir.tape.Tape(graph)
    column = tape.initializer(ir.tensor(np.array([-1, 1, 1, 1], np.int64), name="column"))
    axes = tape.initializer(ir.tensor(np.array([1, 2], np.int64), name="axes"))
    mean = tape.op("Reshape", [tape.op("ReduceMean", [states, axes]), column])
    timestep, alpha, sigma = (tape.op("Reshape", [value, column]) for value in level)
    shift = tape.op("Add", [tape.op("Mul", [timestep, sigma]), alpha])
    eps = tape.op("Add", [tape.op("Mul", [sample, mean]), shift])
    eps.name = "eps"
    eps.dtype, eps.shape = ir.DataType.FLOAT, ir.Shape(["N", *SHAPE])
    graph.outputs.append(eps)
    return ir.Model(graph, ir_version=10)


def test_guided_step_equals_its_formula_and_leaves_the_denoiser_alone(tmp_path: Path) -> None:
    denoiser = scaled_by_text()
    ir.save(guided_step(denoiser), tmp_path / "step.onnx")
    assert [value.name for value in denoiser.graph.inputs] == ["sample", *LEVEL, "encoder_hidden_states"]
    assert [value.name for value in denoiser.graph.outputs] == ["eps"]

    rng = np.random.default_rng(0)
    x, previous = (rng.standard_normal((3, *SHAPE)).astype(np.float32) for _ in range(2))
    states, uncond = (rng.standard_normal((3, 5, 4)).astype(np.float32) for _ in range(2))
    level = {"timestep": [1, 5.5, 9], "alpha": [0.99, 0.8, 0.3], "sigma": [0.1, 0.6, 0.7]}
    t, alpha, sigma = (np.array(level[name], np.float32)[:, None, None, None] for name in LEVEL)
    g, a, b, c, d = 7.5, 1.25, -0.5, 0.125, 0.75
    session = onnxruntime.InferenceSession(tmp_path / "step.onnx", providers=["CPUExecutionProvider"])
    feed = {
        "sample": x,
        **{name: np.array(values, np.float32) for name, values in level.items()},
        "encoder_hidden_states": states,
        "uncond_encoder_hidden_states": uncond,
        "previous_denoised": previous,
        "guidance_scale": np.array(g, np.float32),
        "a": np.array(a, np.float32),
        "b": np.array(b, np.float32),
        "c": np.array(c, np.float32),
        "d": np.array(d, np.float32),
    }
    next_sample, denoised, eps_c, eps_0 = session.run(["next_sample", "denoised", "eps", "uncond_eps"], feed)

    def predict(text: np.ndarray) -> np.ndarray:
        return x * text.mean((1, 2))[:, None, None, None] + t * sigma + alpha

    eps = predict(uncond) + g * (predict(states) - predict(uncond))
    # float32 rounding of values up to about 100, three times as large where they are divided by alpha
    image = (x - sigma * eps) / alpha
    np.testing.assert_allclose(next_sample, a * x + b * eps + c * previous + d * image, rtol=1e-5, atol=6e-5)
    np.testing.assert_allclose(denoised, image, rtol=1e-5, atol=6e-5)
    np.testing.assert_allclose(eps_c, predict(states), rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(eps_0, predict(uncond), rtol=1e-5, atol=2e-5)


def test_step_with_the_prompt_alone_equals_the_guided_one_at_scale_1(tmp_path: Path) -> None:
    ir.save(guided_step(scaled_by_text()), tmp_path / "step.onnx")
    ir.save(unguided_step(scaled_by_text()), tmp_path / "unguided.onnx")
    rng = np.random.default_rng(0)
    x, previous = (rng.standard_normal((3, *SHAPE)).astype(np.float32) for _ in range(2))
    states, uncond = (rng.standard_normal((3, 5, 4)).astype(np.float32) for _ in range(2))
    level = {"timestep": [0.5, 1.5, 2], "alpha": [0.99, 0.8, 0.3], "sigma": [0.1, 0.6, 0.7]}
    feed = {
        "sample": x,
        **{name: np.array(values, np.float32) for name, values in level.items()},
        "encoder_hidden_states": states,
        "previous_denoised": previous,
        **{name: np.array(value, np.float32) for name, value in zip("abcd", (1.25, -0.5, 0.125, 0.75), strict=True)},
    }
    both = {"uncond_encoder_hidden_states": uncond, "guidance_scale": np.array(1, np.float32)}
    outputs = ["next_sample", "denoised", "eps"]
    guided, alone = (
        onnxruntime.InferenceSession(tmp_path / name, providers=["CPUExecutionProvider"])
        for name in ("step.onnx", "unguided.onnx")
    )
    assert [value.name for value in alone.get_inputs()] == list(feed)
    for expected, found in zip(guided.run(outputs, feed | both), alone.run(outputs, feed), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
