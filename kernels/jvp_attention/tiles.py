"""How much one program of the kernel holds: a table by head size, chosen by what fits the registers.

A thread has 255 registers. The accumulators o_dot take G BM D / threads of them, and a tile of scores takes BM BS /
threads about three times over: p, s_dot, and both rounded. The more tangents G share scores and probabilities, the
fewer products each costs, 4 + 1 / G (2 + 1 / G where keys and values have none): pairs save a tenth (a sixth). The more
queries BM share a tile of keys, the less L2 has to deliver: BM (1 + 4 G) D multiply-adds a key, for 4 (1 + G) D bytes,
which is 96 operations a byte for 64 queries and pairs.

Small tiles come first: with 64 queries and 4 warps a multiprocessor holds two programs, one of which computes while the
other waits for its keys, so that one stage may do. Larger ones stand where they alone leave room for a pair, or take
fewer instructions. Chosen by compiling (`python -m benchmarks.kernel_registers` prints registers and spills): of the
tiles that spill nothing in the loop, those with the fewest instructions a tangent. No GPU has timed them yet.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """What one program works on: BM queries, BS keys at a time, G tangents; its warps, and its tiles in flight."""

    queries: int
    keys: int
    tangents: int
    warps: int
    stages: int


WGMMA_SELF = {
    48: Tile(64, 64, 2, 4, 1),
    64: Tile(64, 64, 2, 4, 1),
    80: Tile(64, 32, 2, 4, 1),
    128: Tile(128, 32, 2, 8, 1),
    160: Tile(64, 32, 1, 4, 1),
}
"""Hopper, with tangents of keys and values: operands in shared memory, so that registers are for accumulators."""

WGMMA_CROSS = {
    48: Tile(64, 32, 4, 4, 1),
    64: Tile(64, 32, 4, 4, 2),
    80: Tile(64, 32, 2, 4, 1),
    128: Tile(64, 32, 2, 4, 1),
    160: Tile(64, 16, 2, 4, 1),
}
"""Hopper, tangents of queries alone. 77 keys are padded to 96 or 80."""

MMA_SELF = {
    # 64 keys leave room for one tangent only, at a quarter more instructions each
    48: Tile(64, 32, 2, 4, 2),
    64: Tile(64, 32, 2, 4, 2),
    # 64 queries spill in the loop, or take a fifth more instructions with 16 keys
    80: Tile(128, 32, 2, 8, 2),
    128: Tile(128, 16, 1, 8, 1),
    # 128 queries would need 100 KiB of shared memory, and GeForce has 99
    160: Tile(64, 16, 1, 4, 2),
}
"""Ampere, Ada, and Blackwell without datacenter tensor cores: operands in registers."""

MMA_CROSS = {
    48: Tile(64, 16, 4, 4, 2),
    64: Tile(64, 16, 4, 4, 1),
    80: Tile(64, 32, 2, 4, 1),
    128: Tile(128, 16, 1, 8, 1),
    160: Tile(64, 16, 1, 4, 1),
}

FLOAT32 = {48: Tile(64, 16, 1, 4, 2), 80: Tile(64, 16, 1, 4, 1)}
"""float32 is for parity, not speed: three TF32 products stand for one. Larger heads belong to short sequences."""


def tile_for(head_size: int, itemsize: int, keys_have_tangents: bool, capability: tuple[int, int]) -> Tile | None:
    """The tile of a head size, an input's bytes per element and a CUDA compute capability; None where none fits."""
    if itemsize == 4:
        table = FLOAT32
    elif capability[0] == 9:
        table = WGMMA_SELF if keys_have_tangents else WGMMA_CROSS
    else:
        table = MMA_SELF if keys_have_tangents else MMA_CROSS
    return next((tile for largest, tile in table.items() if head_size <= largest), None)


def column_blocks(head_size: int) -> tuple[tuple[int, int], ...]:
    """(first column, width) of the powers of two that sum to `head_size`, which is first padded to a multiple of 16."""
    blocks, start, rest = [], 0, -(-head_size // 16) * 16
    while rest:
        width = 1 << rest.bit_length() - 1
        blocks.append((start, width))
        start, rest = start + width, rest - width
    return tuple(blocks)
