"""Two threads against one beside a busy program: training steps with a fixed number, and with the number that a fit chooses.

    VBPI_MIX_DATA=... python benchmarks/threads.py [--seconds 5] [--idle]

A process that does nothing but count is bound to one of the machine's cores; --idle leaves it out. Each row is timed in turns
of half a second, so that what else the machine does falls on all alike. The ratio is mean time a step over that of one thread.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

from common import patterns_of, support_of
from step import make_step

from vbpi_mix.accelerate import set_threads
from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.data.site_patterns import compress
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.sample import read_tree_sample
from vbpi_mix.threads import ThreadChoice
from vbpi_mix.training.provenance import available_cores, use_threads

EIGHT = Path(__file__).parent.parent / "examples" / "eight.nex"
TURN_SECONDS = 0.5


def count_on(core: int) -> None:
    """Keep a core busy."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    while True:
        pass


def eight_taxa() -> Callable[[], None]:
    """A step of A = 1 on the example alignment."""
    alignment = read_alignment(EIGHT)
    support = build_support(read_tree_sample([EIGHT.with_suffix(".nwk")], alignment.taxa).children)
    return make_step(Posterior(compress(alignment)), support, None, (1, 1, "a2a"))


def ds1() -> Callable[[], None]:
    """A step of A = 4, S = 2, S2A on DS1."""
    return make_step(Posterior(patterns_of("DS1")[0]), *support_of("DS1"), (4, 2, "s2a"))


def time_in_turns(step: Callable[[], None], most: int, seconds: float) -> tuple[dict[str, float], dict[int, int]]:
    """Mean seconds of a step with one thread, with `most`, and with the number chosen; and how often which was chosen."""
    choice = ThreadChoice(most, set_threads)
    totals = {name: [0.0, 0] for name in ("one", "all", "chosen")}
    for _ in range(round(seconds / TURN_SECONDS)):
        for name, threads in (("one", 1), ("all", most), ("chosen", None)):
            set_threads(choice.threads if threads is None else threads)
            until = time.perf_counter() + TURN_SECONDS
            while (start := time.perf_counter()) < until:
                step()
                spent = time.perf_counter() - start
                totals[name][0] += spent
                totals[name][1] += 1
                if threads is None:
                    choice.observe(spent)
    return {name: total / count for name, (total, count) in totals.items()}, dict(choice.counts)


def main() -> None:
    """Print milliseconds a step and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each of the three, on each data set")
    parser.add_argument("--idle", action="store_true", help="without the busy program")
    options = parser.parse_args()
    most = use_threads(available_cores(), torch_threads=1)
    if hasattr(os, "sched_getaffinity"):
        busy_core = max(os.sched_getaffinity(0))
    else:
        busy_core = 0
    busy = multiprocessing.get_context("spawn").Process(target=count_on, args=(busy_core,), daemon=True)
    if not options.idle:
        busy.start()
    print(f"{'no' if options.idle else 'a'} busy program; milliseconds a step, and over one thread")
    print(f"          one {most:7d} threads      chosen          steps by threads")
    for name, make in (("eight", eight_taxa), ("DS1", ds1)):
        step = make()
        for threads in (1, most):  # compiles
            set_threads(threads)
            step()
        found, counts = time_in_turns(step, most, options.seconds)
        one = found["one"]
        cells = " ".join(f"{1e3 * found[each]:9.3f} {found[each] / one:6.2f}" for each in ("all", "chosen"))
        print(f"{name:6s} {1e3 * one:8.3f} {cells}   {counts}", flush=True)
    if not options.idle:
        busy.terminate()


if __name__ == "__main__":
    main()
