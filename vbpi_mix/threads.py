"""How many threads the kernels use, chosen while they work: as many as take the least time now.

Kernels give the same numbers with any number of threads, so the choice may follow the clock. Beside another busy program a
second thread waits for its core at the end of every parallel region, and two can be many times slower than one; alone on the
machine they are faster. Which of the two it is changes while a fit runs, so both are timed, again and again.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numba

from vbpi_mix.accelerate import is_kept, set_threads

# A trial is at least so long, and holds at least so many pieces of work: more than a time slice of the system's scheduler.
TRIAL_SECONDS, TRIAL_PIECES = 0.05, 2
# Another number of threads is taken only where it saves more than the noise of a trial.
WORTH_CHANGING = 0.95
# One piece is enough if it is that many times slower.
PLAINLY_SLOWER = 2.0
# Seconds of work between trials: twice as many after each that changed nothing, and at least so many times what the last lost.
LEAST_WAIT, MOST_DOUBLINGS, WAIT_PER_LOSS = 1.0, 3, 40.0
# Pieces that take so many times what they took when the number was chosen are reason for a trial ahead of time.
SURPRISE = 1.5
# Work that is over sooner than this is not worth a trial.
SHORT_SECONDS = 3.0
# What only several threads use takes about so many seconds to compile, which the first trial waits for.
COMPILING_SECONDS = 6.0
# Where one of these is in the cache, an earlier trial has compiled the others too.
TRIED = "draw_*_in_parallel"


class ThreadChoice:
    """Chooses among 1, 2, 4 ... `most` threads by the times of like pieces of work, of which `observe` is told.

    Begins with `first` threads; `apply` is called with each new number, at once with the first. first_wait: seconds of work
    before the first trial. A number next to the one in force is tried for TRIAL_SECONDS and kept if it is faster; a faster one
    is followed by a trial further on. first_cost: seconds that the first trial takes besides. It is made if that much can be
    saved in the pieces that `left` says there are; where nobody knows, when as much work is done. There, a piece counts as long
    as the shortest, not with what others made it wait.

    >>> choice = ThreadChoice(2, lambda threads: None, first_wait=0.0)
    >>> for _ in range(20):
    ...     choice.observe(0.1 / choice.threads)
    >>> choice.threads
    2
    """

    def __init__(
        self,
        most: int,
        apply: Callable[[int], object],
        first_wait: float = 0.3,
        first: int = 1,
        *,
        first_cost: float = 0.0,
        left: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._numbers = [1 << k for k in range(most.bit_length()) if 1 << k < most] + [most]
        self._apply = apply
        # Places in `_numbers`: the one that is kept to, and the one in force.
        self._kept = self._place = self._numbers.index(first)
        self._direction = 1
        self._wait, self._since = first_wait, 0.0
        self._first_cost, self._left = first_cost, left
        self._shortest = math.inf
        self._typical = self._before = 0.0  # seconds a piece with the number kept to: when it was chosen, and of late
        self._failures = 0  # trials in a row that changed nothing
        self._is_warm = False
        self._seconds, self._pieces = 0.0, 0
        self.counts: Counter[int] = Counter()
        apply(self.threads)

    @property
    def threads(self) -> int:
        """The number in force."""
        return self._numbers[self._place]

    @property
    def kept(self) -> int:
        """The number in force but for trials."""
        return self._numbers[self._kept]

    def observe(self, seconds: float) -> None:
        """Note how long a piece of work took with the number in force, and choose the number for the next one."""
        self.counts[self.threads] += 1
        if len(self._numbers) == 1:
            return
        if not self._is_warm:  # the first piece, as that after each change, wakes threads, or compiles
            self._is_warm = True
            return
        self._shortest = min(self._shortest, seconds)
        self._seconds += seconds
        self._pieces += 1
        is_plain = self._place != self._kept and self._seconds > PLAINLY_SLOWER * self._pieces * self._before
        if self._seconds < TRIAL_SECONDS or (self._pieces < TRIAL_PIECES and not is_plain):
            return
        mean, total, pieces = self._seconds / self._pieces, self._seconds, self._pieces
        self._seconds, self._pieces = 0.0, 0
        if self._place != self._kept:
            self._judge(mean, (pieces + 1) * (mean - self._before))  # with the piece that was not timed
            return
        self._since += total
        self._before = mean
        self._typical = self._typical or mean
        surprised = mean > SURPRISE * self._typical and self._since >= LEAST_WAIT and self._first_cost == 0.0
        if (self._since >= self._wait or surprised) and self._pays():
            self._try_another()

    def _pays(self) -> bool:
        """Whether a trial may save what it costs; if not, that is asked again after a while."""
        if self._first_cost > 0.0:
            left = self._left()
            pieces = self.counts[self.threads] if left is None else left * (1.0 - 1.0 / self._numbers[-1])
            if pieces * self._shortest < self._first_cost:
                self._wait = self._since + LEAST_WAIT
                return False
        self._first_cost = 0.0
        return True

    def _judge(self, mean: float, loss: float) -> None:
        """End a trial: keep its number, or go back."""
        self._since = 0.0
        if mean < WORTH_CHANGING * self._before:
            self._kept, self._typical, self._wait, self._failures = self._place, mean, 0.0, 0
            if not 0 <= self._kept + self._direction < len(self._numbers):
                self._wait = LEAST_WAIT
            return
        self._wait = max(LEAST_WAIT * 2.0**self._failures, WAIT_PER_LOSS * loss)
        self._failures = min(self._failures + 1, MOST_DOUBLINGS)
        self._typical = self._before
        self._direction = -self._direction
        self._change(self._kept)

    def _try_another(self) -> None:
        if not 0 <= self._kept + self._direction < len(self._numbers):
            self._direction = -self._direction
        self._change(self._kept + self._direction)

    def _change(self, place: int) -> None:
        self._place = place
        self._is_warm = False
        self._apply(self.threads)


# What the last choice of this process kept to, of so many at most: the next one begins there.
_KEPT: dict[int, int] = {}


@contextmanager
def chosen_threads(first_wait: float = 0.3, left: Callable[[], float | None] = lambda: None) -> Iterator[ThreadChoice]:
    """A choice among the numbers of threads up to that in force, which is so again afterwards. Begins with what the one before
    it kept to. left: how many pieces of work are left, None if nobody knows."""
    most = int(numba.get_num_threads())
    cost = 0.0 if is_kept(TRIED) else COMPILING_SECONDS
    choice = ThreadChoice(most, set_threads, first_wait, _KEPT.get(most, 1), first_cost=cost, left=left)
    try:
        yield choice
    finally:
        _KEPT[most] = choice.kept
        set_threads(most)


class Pieces:
    """Tells a choice how long each piece of work took, from the end of the one before it."""

    def __init__(self, choice: ThreadChoice) -> None:
        self._choice = choice
        self._last = time.perf_counter()

    def ended(self) -> None:
        """A piece of work has ended."""
        now = time.perf_counter()
        self._choice.observe(now - self._last)
        self._last = now


@contextmanager
def timed_pieces() -> Iterator[Pieces]:
    """`chosen_threads` for a loop of a few seconds, whose pieces are alike and are timed here."""
    with chosen_threads(SHORT_SECONDS) as choice:
        yield Pieces(choice)
