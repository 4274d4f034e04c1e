"""The parity check: what passes, and what is printed."""

from memscan.export.parity.parity import ParityRow, format_table


def test_an_error_passes_up_to_its_limit_and_a_nan_never() -> None:
    assert ParityRow("measure.onnx", "eps", 1e-5, 1e-5).passed
    assert not ParityRow("measure.onnx", "eps", 1.01e-5, 1e-5).passed
    assert not ParityRow("measure.onnx", "eps", float("nan"), 1e-5).passed


def test_the_table_says_what_was_proven_and_what_was_not() -> None:
    rows = [
        ParityRow("measure.onnx", "eps", 1.26e-6, 1e-5),
        ParityRow("text_encoder.onnx", "encoder_hidden_states", 2e-2, 1e-2, "in float32"),
        ParityRow("baseline/measure.onnx", "eps", None, 1e-2, "no kernel"),
    ]
    assert format_table(rows).splitlines() == [
        "graph                  output                   error    limit",
        "measure.onnx           eps                    1.3e-06    1e-05  ok",
        "text_encoder.onnx      encoder_hidden_states  2.0e-02    1e-02  FAILED, in float32",
        "baseline/measure.onnx  eps                          -        -  not run: no kernel",
    ]
