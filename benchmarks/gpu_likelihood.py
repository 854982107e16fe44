"""Time of one tree's log-likelihood with all its gradients on a CUDA device and on one core, and how far the two agree.

    VBPI_MIX_DATA=... python benchmarks/gpu_likelihood.py [NAME ...]

A call takes 20 trees, as a step of a fit does: trees, lengths and parameters go to the device, values and gradients come back,
and that is part of the time. Large data have fewer trees on the processor. Without VBPI_MIX_DATA, data of the same size are
drawn. The first call compiles. Names: DS1, rbcl, 50x100k; without any, all.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numba
import numpy as np
from common import median_seconds

from vbpi_mix.accelerate import set_threads
from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.data.site_patterns import SitePatterns, compress
from vbpi_mix.phylo.models.characters import CharacterModel, CharacterPart
from vbpi_mix.phylo.models.device import check_device
from vbpi_mix.phylo.models.jukes_cantor import JukesCantor
from vbpi_mix.phylo.models.part import make_part
from vbpi_mix.phylo.models.simulate import simulate_alignment
from vbpi_mix.phylo.trees.topology import random_topologies

TREES = 20
# Taxa, sites and mean branch length of the data, and the trees that one core is timed with.
SIZES = {"DS1": (27, 1949, 0.05, TREES), "rbcl": (436, 1371, 0.02, 4), "50x100k": (50, 100_000, 0.1, 1)}
FILES = {"DS1": "DS1/DS1.fasta", "rbcl": "rbcl/rbcl.phy.gz"}


def patterns_of(name: str) -> SitePatterns:
    """Of the file, or drawn."""
    taxa, sites, mean, _ = SIZES[name]
    path = Path(os.environ.get("VBPI_MIX_DATA", "")) / FILES.get(name, "-")
    if path.is_file():
        return compress(read_alignment(path))
    print(f"{name}: drawn", flush=True)
    return compress(simulate_alignment(taxa, sites, 1, mean)[0])


class Jc69:
    """JC69 with patterns packed for one device."""

    name = "JC69"

    def __init__(self, patterns, device):
        self.model = JukesCantor()
        self.model.to(device)
        self.packed = self.model.pack(patterns)

    def __call__(self, children, lengths, theta):
        found = self.model.evaluate(children, lengths, self.packed)
        return found.values, found.length_slopes, np.zeros(1)


class GtrGamma:
    """GTR+G4, every tree with its own parameters."""

    name = "GTR+G4"

    def __init__(self, patterns, device):
        self.model = CharacterModel([CharacterPart("all", patterns, make_part("GTR+G4", patterns))])
        self.model.to(device)

    def __call__(self, children, lengths, theta):
        found = self.model.evaluate(children, lengths, theta)
        return found.values, found.length_slopes, found.parameter_slopes["theta"]


def measure(name: str, patterns: SitePatterns, kind, few: int) -> None:
    """A row of the table."""
    rng = np.random.default_rng(1)
    n = patterns.states.shape[0]
    children, lengths = random_topologies(n, TREES, rng), rng.exponential(0.1, (TREES, 2 * n - 3))
    theta = rng.normal(0.0, 0.3, (TREES, 9))
    at = time.perf_counter()
    on_device = kind(patterns, "cuda")
    found = on_device(children, lengths, theta)
    first = time.perf_counter() - at
    device = median_seconds(lambda: on_device(children, lengths, theta), 7, 2) / TREES
    again = on_device(children, lengths, theta)
    on_core = kind(patterns, "cpu")
    some = children[:few], lengths[:few], theta[:few]
    expected = on_core(*some)
    core = median_seconds(lambda: on_core(*some), 3, 1) / few
    apart = [
        np.abs(a[:few] - b).max() / max(np.abs(b).max(), 1e-300) if b.any() else 0.0
        for a, b in zip(found, expected, strict=True)
    ]
    same = all((a == b).all() for a, b in zip(found, again, strict=True))
    print(
        f"{name:8s} {n:4d} {patterns.weights.size:7d} {kind.name:7s} {1e3 * core:10.3f} {1e3 * device:10.4f} {core / device:7.1f}"
        f"   {apart[0]:8.1e} {apart[1]:8.1e} {apart[2]:8.1e}  {'yes' if same else 'NO':5s} {first:6.1f}",
        flush=True,
    )


def main(names: list[str]) -> None:
    """Print the table."""
    set_threads(1)
    try:
        check_device("cuda")
    except ConfigError as error:
        sys.exit(str(error))
    from numba import cuda

    device = cuda.get_current_device().name
    shown = device.decode() if isinstance(device, bytes) else device
    print(f"numba {numba.__version__}; {shown}; {TREES} trees a call", flush=True)
    print("                              ms per tree, with gradients      relative difference of          same    first")
    print("data     taxa patterns model    one core     device   ratio   values   lengths  parameters again  call, s", flush=True)
    for name in names or list(SIZES):
        patterns = patterns_of(name)
        for kind in (Jc69, GtrGamma):
            measure(name, patterns, kind, SIZES[name][3])


if __name__ == "__main__":
    main(sys.argv[1:])
