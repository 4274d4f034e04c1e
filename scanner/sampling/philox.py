"""Philox4x32-10, the counter-based generator behind torch's CUDA random numbers (Salmon et al., SC 2011).

One call turns a 128-bit counter and a 64-bit key into four 32-bit words; there is no state. Multipliers, key increments
and the ten rounds are those of Random123, which cuRAND and torch use.
"""

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10
_WORD = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox4x32(counter: NDArray[np.uint32], key: tuple[int, int]) -> NDArray[np.uint32]:
    """Four random words for each counter.

    Args:
        counter: [4, n], least significant word first.
        key: two 32-bit words, least significant first.

    Returns:
        Words [4, n].
    """
    x0, x1, x2, x3 = counter.astype(np.uint64)
    key0, key1 = key
    for _ in range(_ROUNDS):
        product0, product1 = _MULTIPLIERS[0] * x0, _MULTIPLIERS[1] * x2
        x0, x1, x2, x3 = (
            (product1 >> _SHIFT) ^ x1 ^ np.uint64(key0),
            product1 & _WORD,
            (product0 >> _SHIFT) ^ x3 ^ np.uint64(key1),
            product0 & _WORD,
        )
        key0, key1 = (key0 + _WEYL[0]) & 0xFFFFFFFF, (key1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([x0, x1, x2, x3]).astype(np.uint32)
