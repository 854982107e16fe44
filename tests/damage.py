"""Damaged files for tests of readers: texts with bytes changed, and the contents of checkpoints with entries changed."""

from __future__ import annotations

import os
import random
import resource
import time

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from vbpi_mix.errors import VbpiMixError

# A reader that has not ended by then hangs: in the runs of minutes; in every run of the tests, whose machine may be busy.
SLOWEST_SECONDS, SURELY_HANGS_SECONDS = 5, 60
LONGEST_MESSAGE = 1_100
MOST_KILOBYTES = 1_000_000
QUICK = settings(
    max_examples=120, deadline=None, derandomize=True, database=None, phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
# Of any format.
MARKS = [
    b"", *(bytes([each]) for each in b"();'\"[],:=\n\r\t -{}\\~\x00\xff\xe4"), b"9" * 30, b"1e999", b"nan", b"\xf3\xb0\x80\x80",
]  # fmt: skip


def check_message(error):
    """A message is one short line."""
    message = str(error)
    assert "\n" not in message
    assert 0 < len(message) < LONGEST_MESSAGE


def read_or_refuse(read, *given):
    """Whether a reader reads what it is given; if not, it says so in one line, and it does not hang."""
    started = time.process_time()
    try:
        read(*given)
    except VbpiMixError as error:
        check_message(error)
        return False
    finally:
        assert time.process_time() - started < SURELY_HANGS_SECONDS
    return True


def try_often(strategy, check, examples=QUICK.max_examples):
    """Quickly, and always the same."""
    settings(QUICK, max_examples=examples)(given(strategy)(check))()


def try_for_minutes(strategy, check):
    """For FUZZ_MINUTES (10), always other files; no file may take five seconds, no reader a gigabyte meanwhile."""
    started, before, tries = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    ends = started + 60 * float(os.environ.get("FUZZ_MINUTES", "10"))

    @settings(QUICK, max_examples=2_000, derandomize=False, phases=(Phase.generate, Phase.shrink))
    @given(strategy)
    def attempt(data):
        nonlocal tries
        if time.monotonic() < ends:
            tries += 1
            begun = time.process_time()
            check(data)
            assert time.process_time() - begun < SLOWEST_SECONDS

    while time.monotonic() < ends:
        attempt()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KILOBYTES
    print(f"{tries:,} files in {time.monotonic() - started:.0f} s")


@st.composite
def damaged_texts(draw, texts, marks=(), encodings=("utf-8",)):
    """A good file in which bytes are dropped, doubled, changed or moved, or text of the format's own marks, or anything."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    text = draw(st.sampled_from(texts))
    text = text if isinstance(text, bytes) else text.encode(draw(st.sampled_from(encodings)))
    return _damaged(text, lambda low, high: draw(st.integers(low, high)), lambda among: draw(st.sampled_from(among)), marks)


def damaged_bytes(content, seed):
    """As `damaged_texts` has it, of a file so large that Hypothesis would fill the memory with its versions."""
    chance = random.Random(seed)
    return _damaged(content, chance.randint, chance.choice)


def _damaged(content, integer, choice, marks=()):
    """Up to six changes, drawn by `integer`, from one number to another, and by `choice`, of a list."""
    content = bytearray(content)
    for _ in range(integer(1, 6)):
        start = integer(0, len(content))
        stop = min(len(content), start + choice([0, 0, 1, 1, 2, 10, 1000]))
        content[start:stop] = choice([*MARKS, *marks, bytes(content[start:stop]) * 2])
    return bytes(content)


def damaged_value(value, seed):
    """Plain data in which one to three entries, picked at random, are missing or something else."""
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 3)):
        value = _changed(value, chance)
    return value


def _changed(value, chance):
    """The same but for one entry of it or of what it holds."""
    entries = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list | tuple) else []
    if not entries or chance.random() < 0.1:
        return _other(value, chance)
    name = chance.choice(entries)
    parts = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    if chance.random() < 0.1:
        del parts[name]
    else:
        parts[name] = _changed(parts[name], chance)
    return parts if isinstance(value, dict) else type(value)(parts.values())


def _other(value, chance):
    anything = [None, "", "x" * 300, -1, 0, 2**62, 0.5, float("nan"), float("inf"), True, [], {}, [1, 2], torch.zeros(0)]
    if not isinstance(value, torch.Tensor) or chance.random() < 0.1:
        return chance.choice(anything)
    values = value.clone().flatten()
    if values.numel() and chance.random() < 0.6:
        extreme = [-1, 0, 1, 2**31 - 1] if value.dtype in (torch.int32, torch.int64) else [0, 1, 255]
        if value.is_floating_point():
            extreme = [np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0]
        values[chance.randrange(values.numel())] = chance.choice(extreme)
        return values.reshape(value.shape)
    shorter = value[:-1] if value.dim() and value.shape[0] else value
    return chance.choice([shorter, value.flatten(), value.double(), value[None], value.to(torch.int32)])
