"""Registers, spills and shared memory of the attention kernel at every entry of its table of tiles, without a GPU.

Triton compiles for any architecture on any machine. The arguments are those of a real launch, on tensors of the meta
device, so that the kernel is specialised as it will be. A spill is a register that had no room and lives in memory;
"in loop" counts the loads and stores of such memory between one tile of keys and the next. The exit code is 1 if a
kernel takes more than it may.

    python -m benchmarks.kernel_registers --dtype fp16 --head-size 40
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from memscan.kernels.jvp_attention import tiles
from memscan.kernels.jvp_attention.kernel import attention_jvp_kernel
from memscan.kernels.jvp_attention.launch import kernel_arguments
from memscan.kernels.jvp_attention.tiles import Tile

BATCH, HEADS, TANGENTS = 2, 8, 8
TOKENS, TEXT_TOKENS = 4096, 77
HEAD_SIZES = {48: 40}
"""The head size that stands for a row of the table: its own limit, but 40 for 48."""
TYPES = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}
SHARED_LIMITS = {80: 163, 90: 227, 120: 99}
"""KiB of shared memory that one program may take, by compute capability."""
COLUMNS = {
    "arch": 6,
    "type": 4,
    "attention": 9,
    "D": 3,
    "tile": 6,
    "G": 1,
    "warps": 5,
    "registers": 9,
    "spilled B": 9,
    "in loop": 7,
    "shared KiB": 10,
    "fits": 4,
}


@dataclass(frozen=True)
class Case:
    """One entry of the table of tiles on one architecture."""

    architecture: int
    dtype: torch.dtype
    attention: str
    head_size: int
    tile: Tile

    def __str__(self) -> str:
        return f"sm_{self.architecture}-{TYPES[self.dtype]}-{self.attention}-{self.head_size}"


@dataclass(frozen=True)
class Usage:
    """What a compiled kernel takes: registers a thread, bytes spilled a thread, accesses to them in the loop, KiB."""

    registers: int
    spilled: int
    in_loop: int
    shared: float


def fits(case: Case, usage: Usage) -> bool:
    """Whether the kernel can be launched, and its loop keeps to registers.

    float32 may spill: its products are threefold, and it is there for parity.
    """
    return usage.shared <= SHARED_LIMITS[case.architecture] and (usage.in_loop == 0 or case.dtype == torch.float32)


def cases() -> Iterator[Case]:
    """Every architecture with every type and every tile that it would be launched with."""
    for architecture in SHARED_LIMITS:
        for dtype in TYPES:
            for attention in ("self", "cross"):
                for head_size in sorted({*tiles.WGMMA_SELF, *tiles.FLOAT32}):
                    size = HEAD_SIZES.get(head_size, head_size)
                    capability = (architecture // 10, architecture % 10)
                    tile = tiles.tile_for(size, dtype.itemsize, attention == "self", capability)
                    if tile is not None:
                        yield Case(architecture, dtype, attention, size, tile)


def compile_case(case: Case) -> Usage:
    """Compile the kernel as `fused_jvp_attention` would launch it, and read what the machine code takes."""
    tile = case.tile
    source = _specialised(_arguments(case))
    options = {"num_warps": tile.warps, "num_stages": tile.stages, "enable_fp_fusion": True}
    compiled = triton.compile(source, target=GPUTarget("cuda", case.architecture, 32), options=options)
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(compiled.asm["cubin"])
        usage = _tool("cuobjdump", "--dump-resource-usage", cubin)
        listing = _tool("nvdisasm", "--print-code", cubin)
    registers, spilled = re.search(r"REG:(\d+) STACK:(\d+)", usage).groups()
    return Usage(int(registers), int(spilled), _spills_in_loop(listing), compiled.metadata.shared / 1024)


def _arguments(case: Case) -> dict[str, object]:
    keys = TOKENS if case.attention == "self" else TEXT_TOKENS

    def heads(tokens: int, *leading: int) -> torch.Tensor:
        shape = (*leading, BATCH, tokens, HEADS, case.head_size)
        return torch.empty(shape, dtype=case.dtype, device="meta").transpose(-2, -3)

    q, k, v = heads(TOKENS), heads(keys), heads(keys)
    q_dot = heads(TOKENS, TANGENTS)
    k_dot, v_dot = (heads(keys, TANGENTS), heads(keys, TANGENTS)) if case.attention == "self" else (None, None)
    y, lse = heads(TOKENS), torch.empty(BATCH, HEADS, TOKENS, device="meta")
    return kernel_arguments(q, k, v, q_dot, k_dot, v_dot, y, lse, scale=case.head_size**-0.5, tile=case.tile)


def _specialised(arguments: dict[str, object]) -> ASTSource:
    """As Triton's launcher specialises: types, constants, and which pointers and integers 16 divides."""
    signature: dict[str, object] = {}
    constants: dict[str, object] = {}
    hints: dict[tuple[int, ...], list[list[object]]] = {}
    constexprs = {parameter.name for parameter in attention_jvp_kernel.params if parameter.is_constexpr}
    for index, name in enumerate(attention_jvp_kernel.arg_names):
        value = arguments[name]
        if name in constexprs or value is None:
            signature[name], constants[name] = "constexpr", value
        elif isinstance(value, tuple):
            signature[name] = ("i32",) * len(value)
            hints |= {(index, at): [["tt.divisibility", 16]] for at, one in enumerate(value) if one % 16 == 0}
        elif isinstance(value, torch.Tensor):
            signature[name] = "*" + TYPES[value.dtype]
            hints[index,] = [["tt.divisibility", 16]]
        elif isinstance(value, int):
            signature[name] = "i32"
            if value % 16 == 0:
                hints[index,] = [["tt.divisibility", 16]]
        else:
            signature[name] = "fp32"
    return ASTSource(attention_jvp_kernel, signature, constants, hints)


def _spills_in_loop(listing: str) -> int:
    """Local loads and stores in the loop with the most tensor-core instructions."""
    lines = [line for line in listing.splitlines() if re.match(r"\s+/\*[0-9a-f]+\*/|\.L_x_\d+:", line)]
    labels = {line.rstrip(":"): number for number, line in enumerate(lines) if line.startswith(".L_x_")}
    loops = []
    for number, line in enumerate(lines):
        branch = re.search(r"BRA.*`\((\.L_x_\d+)\)", line)
        if branch and labels.get(branch[1], number) < number:
            loops.append(lines[labels[branch[1]] : number])
    loop = max(loops, key=lambda body: sum("MMA" in line for line in body))
    return sum(bool(re.search(r"\b(LDL|STL)\b", line)) for line in loop)


def _tool(name: str, *arguments: object) -> str:
    path = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    return subprocess.run([path, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def _row(*cells: object) -> str:
    return "| " + " | ".join(f"{cell!s:>{width}}" for cell, width in zip(cells, COLUMNS.values(), strict=True)) + " |"


@click.command()
@click.option("--dtype", type=click.Choice([*TYPES.values()]), multiple=True, help="[default: all]")
@click.option("--head-size", type=int, multiple=True, help="[default: all]")
@click.pass_context
def main(context: click.Context, dtype: tuple[str, ...], head_size: tuple[int, ...]) -> None:
    """Compile the attention kernel for sm_80, sm_90 and sm_120 and print what it takes."""
    click.echo(_row(*COLUMNS))
    click.echo(f"|{'|'.join('-' * (width + 1) + ':' for width in COLUMNS.values())}|")
    all_fit = True
    for case in cases():
        if (not dtype or TYPES[case.dtype] in dtype) and (not head_size or case.head_size in head_size):
            tile, usage = case.tile, compile_case(case)
            fit = fits(case, usage)
            all_fit &= fit
            click.echo(
                _row(
                    *(f"sm_{case.architecture}", TYPES[case.dtype], case.attention, case.head_size),
                    *(f"{tile.queries}x{tile.keys}", tile.tangents, tile.warps),
                    *(usage.registers, usage.spilled, usage.in_loop, f"{usage.shared:.0f}", "yes" if fit else "no"),
                )
            )
    context.exit(0 if all_fit else 1)


if __name__ == "__main__":
    main()
