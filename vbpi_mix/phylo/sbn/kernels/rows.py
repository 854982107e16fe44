"""Numbers for rows of bit sets, equal exactly where the rows are: a hash table, since sorting words column by column takes
most of the time that a support of hundreds of taxa needs.
"""

from __future__ import annotations

import numpy as np

from vbpi_mix.accelerate import kernel

# 2^64 over the golden ratio (Knuth, The Art of Computer Programming 3, 6.4), and half a word.
_FACTOR, _HALF, _ONE = np.uint64(0x9E3779B97F4A7C15), np.uint64(32), np.uint64(1)


@kernel
def number_rows(rows, slots, codes, first):
    """Number the distinct rows of uint64 [N, W] in the order in which they come; returns how many there are.

    slots: int32 [M], -1, M a power of two above N, the hash table; codes: int64 [N], the number of each row; first: int64
    [N], the first row with each number.
    """
    mask, count = np.uint64(slots.shape[0] - 1), 0
    for k in range(rows.shape[0]):
        hashed = np.uint64(0)
        for word in range(rows.shape[1]):
            hashed = (hashed ^ rows[k, word]) * _FACTOR
            hashed ^= hashed >> _HALF
        place = hashed & mask
        while True:
            known = slots[place]
            if known < 0:
                slots[place], first[count], codes[k] = count, k, count
                count += 1
                break
            same = True
            for word in range(rows.shape[1]):
                same = same and rows[first[known], word] == rows[k, word]
            if same:
                codes[k] = known
                break
            place = (place + _ONE) & mask
    return count
