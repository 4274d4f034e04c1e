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


def test_goals_are_in_forward_passes() -> None:
    assert SELF.goal(8) == 13
    assert Shape("SDXL", 1024, 1024, 20, 64).goal(8) == 17
    assert CROSS.goal(8) == 9


def test_the_kernel_takes_a_product_a_group_more_than_the_formula() -> None:
    assert SELF.products(8) == 34
    assert SELF.kernel_products(8, 2) == 38
    assert CROSS.kernel_products(8, 4) == 2 + 2 * 8 + 2
    assert SELF.kernel_products(3, 2) == 2 + 4 * 3 + 2


def test_the_peer_is_asked_for_what_it_takes_only() -> None:
    assert [(shape.queries, shape.keys) for shape in SHAPES if shape.peer_takes_it()] == [(4096, 4096), (1024, 1024)]


def test_the_table_gives_times_in_the_fastest_forward_pass_and_its_columns_line_up() -> None:
    measured = {
        "forward, flash": Figures(0.5, 5.0),
        "forward, cuDNN": Figures(0.25, 5.0),
        "memscan": Figures(2.5, 12345.5),
        "unfused": Figures(50, 1e4),
    }
    rows = lines(SELF, 8, 2, measured, 2)
    cells = [[cell.strip() for cell in row.split("|")[3:8]] for row in rows]
    assert [row[0] for row in cells] == ["2", "2", "38", "34"]
    assert [row[2] for row in cells] == ["2.00", "1.00", "10.00", "200.00"]
    assert [row[3] for row in cells] == ["", "", "13", ""]
    product = 2 * 2 * 8 * 4096 * 4096 * 40
    assert [row[4] for row in cells] == [
        f"{products * product / seconds / 1e12:.1f}"
        for products, seconds in ((2, 5e-4), (2, 2.5e-4), (34, 2.5e-3), (34, 5e-2))
    ]
    columns = [[at for at, letter in enumerate(row) if letter == "|"] for row in (*header().splitlines(), *rows)]
    assert all(each == columns[0] for each in columns)
