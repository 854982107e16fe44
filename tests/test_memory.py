"""Memory that goes round."""

import gc
import random

import numpy as np
import torch

from vbpi_mix.memory import LEAST_BYTES, LINE, Pool

SHAPES = [(LEAST_BYTES // 8,), (3, LEAST_BYTES // 8), (LEAST_BYTES // 64, 2, 8), (5,), (LEAST_BYTES // 4, 2)]


def test_memory_that_something_still_refers_to_is_never_given_out():
    """Whatever is left of an array, a view of a view or a tensor of one, keeps what was written there."""
    pool, rng, held, given = Pool(), random.Random(1), [], 0
    views = (
        lambda array: array,
        lambda array: array[1:],
        lambda array: array.reshape(-1)[::3],
        lambda array: torch.from_numpy(array),
        lambda array: torch.from_numpy(array)[..., 1:].detach(),
        lambda array: torch.from_numpy(array).view(-1).numpy()[2:5],
    )
    addresses = set()
    for number in range(600):
        array = pool.take(rng.choice(SHAPES), rng.choice([np.float64, np.float32, np.int64]))
        assert array.ctypes.data % LINE == 0
        addresses.add(array.ctypes.data)
        given += array.nbytes >= LEAST_BYTES
        array[:] = number
        held.append((number, rng.choice(views)(array)))
        del array
        while len(held) > 8:
            held.pop(rng.randrange(len(held)))
        for written, view in held:
            assert bool((view == written).all())
    assert len(addresses) < given / 4


def test_an_array_has_the_shape_and_type_asked_for():
    array = Pool().take((7, LEAST_BYTES), np.float32)
    assert array.shape == (7, LEAST_BYTES)
    assert array.dtype == np.float32
    assert array.flags.c_contiguous


def test_memory_goes_back_to_the_pool_as_soon_as_nothing_refers_to_it():
    pool = Pool()
    first = pool.take((LEAST_BYTES,), np.float64)
    address = first.ctypes.data
    del first
    second = pool.take((LEAST_BYTES - 5,), np.float64)
    assert second.ctypes.data == address
    third = pool.take((LEAST_BYTES - 5,), np.float64)
    assert not np.shares_memory(second, third)


def test_arrays_outlive_their_pool():
    pool = Pool()
    array = pool.take((LEAST_BYTES,), np.float64)
    array[:] = 3.0
    del pool
    gc.collect()
    assert (array == 3.0).all()
