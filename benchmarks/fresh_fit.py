"""A fit in a process of its own, so that what it cost is known: `fit_apart`.

Processor seconds are those of the whole process, its start, imports and the loading of compiled kernels included. Kernels
are compiled when they are first used and kept in NUMBA_CACHE_DIR; `warm_up` compiles them on a few taxa and says at what cost.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Of a budget of processor seconds, after what starting and what has no budget take: for making trees, and for training.
TREES_SHARE = 0.5
TRAINING_SHARE = 0.4


@dataclass(frozen=True)
class Cost:
    """Seconds: of the processor and of the clock, of the whole process; of the processor, before the alignment was read; and
    those that trees and training were given."""

    cpu: float
    wall: float
    start: float
    given: float

    @property
    def without_budget(self) -> float:
        """What setting up, the start and the answer took; less than that where trees or training ended early."""
        return max(0.0, self.cpu - self.start - self.given)


def fit_apart(
    alignment: Path,
    out: Path,
    *,
    budget: float | None = None,
    shares: tuple[float, float] = (TREES_SHARE, TRAINING_SHARE),
    without_budget: float = 0.0,
    choices: Mapping[str, Any] | None = None,
) -> Cost:
    """Fit on one thread and leave the run at `out`. RuntimeError, with its last line, if it fails.

    budget: processor seconds that the whole should take; None: the defaults, until they are done. shares: of it, for making
    trees and for training. without_budget: what else is known to take time, of an earlier fit. choices: of `vbpi_mix.fit`.
    """
    request = {
        "alignment": str(alignment), "out": str(out), "budget": budget, "shares": shares,
        "without_budget": without_budget,
        "choices": {"threads": 1, "trees_from": "mcmc", **(choices or {})},
    }  # fmt: skip
    # Libraries of linear algebra start a thread a core, which spin.
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(request)],
        env={**os.environ, **single}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the fit of {alignment} failed: {done.stderr.strip().splitlines()[-1]}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def warm_up(choices: Mapping[str, Any] | None = None) -> float:
    """Compile what a fit with these choices needs, on eight simulated taxa; processor seconds that it cost.

    What is compiled is kept in a new folder for all later fits of this process, unless NUMBA_CACHE_DIR names one.
    """
    import vbpi_mix
    from vbpi_mix.phylo.data.alignment import write_nexus

    if "NUMBA_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="kernels-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["NUMBA_CACHE_DIR"] = folder
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_nexus(vbpi_mix.simulate(taxa=8, sites=100, seed=1).alignment, place / "eight.nex")
        short = {"trees_seconds": 1.0, "iterations": 20, **(choices or {})}
        first, second = (fit_apart(place / "eight.nex", place / name, choices=short) for name in ("one", "two"))
    return first.cpu - second.cpu


def _main() -> None:
    began = time.perf_counter()
    request = json.loads(sys.argv[1])
    import vbpi_mix
    import vbpi_mix.phylo.fit

    start, choices = time.process_time(), request["choices"]
    if request["budget"] is not None:
        left = max(request["budget"] - start - request["without_budget"], 1.0)
        trees, training = request["shares"]
        choices = {**choices, "trees_seconds": trees * left, "seconds": training * left}
    vbpi_mix.fit(request["alignment"], out=request["out"], **choices)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    given = sum(choices.get(name) or 0.0 for name in ("trees_seconds", "seconds"))
    cost = Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - began, start, given)
    print(json.dumps(asdict(cost)))


if __name__ == "__main__":
    _main()
