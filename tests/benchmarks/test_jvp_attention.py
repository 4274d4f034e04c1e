"""The benchmark of the attention kernel, as far as a machine without a GPU can run it."""

import pytest
import torch
from click.testing import CliRunner

from benchmarks.jvp_attention import SHAPES, Figures, Shape, header, lines, main

SELF = Shape("SD 1", 4096, 4096, 8, 40)
CROSS = Shape("SD 1", 4096, 77, 8, 40)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_in_one_line() -> None:
    result = CliRunner().invoke(main)
    assert result.exit_code == 1
    assert result.output == "Error: no CUDA device: this benchmark times kernels on a GPU\n"


def test_the_goal_is_the_arithmetic_of_the_tangents() -> None:
    assert SELF.goal(8) == 17
    assert CROSS.goal(8) == 9


def test_the_peer_is_asked_for_what_it_takes_only() -> None:
    assert [(shape.queries, shape.keys) for shape in SHAPES if shape.peer_takes_it()] == [(4096, 4096), (1024, 1024)]


def test_the_table_gives_times_in_forward_passes_and_its_columns_line_up() -> None:
    rows = lines(
        SELF, 8, {"forward": Figures(0.25, 5.0), "memscan": Figures(2.5, 12345.5), "unfused": Figures(50, 1e4)}
    )
    assert [row.split("|")[4].strip() for row in rows] == ["1.00", "10.00", "200.00"]
    assert [row.split("|")[5].strip() for row in rows] == ["", "17", ""]
    columns = [[at for at, letter in enumerate(row) if letter == "|"] for row in (*header().splitlines(), *rows)]
    assert all(each == columns[0] for each in columns)
