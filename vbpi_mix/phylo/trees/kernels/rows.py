"""Numbers for rows of bit sets, equal exactly where the rows are: a hash table, since sorting words column by column takes
most of the time that a support of hundreds of taxa needs.
"""

from __future__ import annotations

import numpy as np

from vbpi_mix.accelerate import kernel

# Shifts that mix a word (Marsaglia 2003, "Xorshift RNGs"): no product, whose overflow plain Python would warn of.
_SHIFTS, _ONE = (np.uint64(13), np.uint64(7), np.uint64(17), np.uint64(32)), np.uint64(1)


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
            hashed ^= rows[k, word]
            hashed ^= hashed >> _SHIFTS[3]
            hashed ^= hashed << _SHIFTS[0]
            hashed ^= hashed >> _SHIFTS[1]
            hashed ^= hashed << _SHIFTS[2]
            hashed ^= hashed >> _SHIFTS[3]
            # Not linear, so that sets that are unions of others do not fall together.
            hashed ^= (hashed << _ONE) & (hashed >> _SHIFTS[1])
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
