"""Value and all gradients (lengths, Q, frequencies, rates, weights, invariant sites) of one tree against BEAGLE's value alone,
and of the same patterns in many parts against one.

    VBPI_MIX_DATA=... python benchmarks/models.py

Needs gcc and libhmsbeagle with its header (Debian: libhmsbeagle-dev); beagle.c beside this file is compiled in a temporary
folder. BEAGLE runs SSE in double precision without scaling, on one thread as we do, and computes the transition matrices
as we do. Both take turns, and the fastest run of each counts: on a busy machine the fastest is the least disturbed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import data_folder, patterns_of

from vbpi_mix.accelerate import set_threads
from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models.rates import Rates
from vbpi_mix.phylo.models.reversible_likelihood import evaluate, join, log_likelihoods, pack
from vbpi_mix.phylo.trees.topology import random_topologies

AMINO_ACIDS = "ARNDCQEGHILKMFPSTWYV"
TURNS, REPEATS = 10, 20


@dataclass
class Problem:
    """Patterns of S states, C categories, and how many trees a call gets.

    What a call costs by itself (memory, arguments) is shared out among them, as in a fit; fewer of slow trees, because on a
    busy machine a long call is never left alone.
    """

    name: str
    states: int
    categories: int
    patterns: SitePatterns
    trees: int


def protein_patterns() -> SitePatterns:
    """Distinct columns of the protein alignment prot21, with a gap or any letter that is no amino acid as missing."""
    records = (data_folder() / "prot21" / "prot21.fa").read_text().split(">")[1:]
    rows = ["".join(record.split("\n")[1:]) for record in records]
    missing = (1 << 20) - 1
    sets = np.array([[1 << AMINO_ACIDS.find(x) if x in AMINO_ACIDS else missing for x in row] for row in rows], np.uint64)
    states, counts = np.unique(sets, axis=1, return_counts=True)
    return SitePatterns(np.ascontiguousarray(states), counts.astype(float))


def simulated_patterns(n_taxa: int, count: int, states: int) -> SitePatterns:
    """Random single states: the time does not depend on them."""
    drawn = np.random.default_rng(2).integers(0, states, (n_taxa, count)).astype(np.uint64)
    return SitePatterns(np.uint64(1) << drawn, np.ones(count))


def random_rates(states: int, categories: int) -> Rates:
    """One parameter vector: random exchangeabilities and frequencies, gamma-like rates."""
    rng = np.random.default_rng(1)
    frequencies = rng.dirichlet(np.full(states, 5.0))
    q = rng.exponential(1.0, (states, states))
    q = (q + q.T) * frequencies
    np.fill_diagonal(q, 0.0)
    np.fill_diagonal(q, -q.sum(axis=1))
    q /= -(frequencies @ q.diagonal())
    root = np.sqrt(frequencies)
    values, vectors = np.linalg.eigh(root[:, None] * q / root)
    rates = np.array([0.137, 0.477, 1.0, 2.386])[:categories]
    arrays = (vectors / root[:, None], vectors.T * root, values, frequencies, rates / rates.mean())
    return Rates(*(array[None] for array in arrays), np.full((1, categories), 1.0 / categories), np.zeros(1))


def beagle(program: Path, problem: Problem, rates: Rates, children: np.ndarray, lengths: np.ndarray) -> tuple[float, float]:
    """Log-likelihood and the fastest time in milliseconds."""
    sets = problem.patterns.states.astype(np.uint64)
    single = np.bitwise_count(sets) == 1
    tips = np.where(single, np.log2(np.where(single, sets, 1)), problem.states).astype(int)
    sizes = (problem.states, problem.categories, sets.shape[0], sets.shape[1], REPEATS)
    arrays = (*rates[:6], problem.patterns.weights, tips, children, lengths)
    text = " ".join(map(str, [*sizes, *(x for array in arrays for x in np.ravel(array).tolist())]))
    done = subprocess.run([program], input=text, capture_output=True, text=True, check=True)
    value, fastest = done.stdout.split()[:2]
    return float(value), float(fastest)


def measure(program: Path, problem: Problem) -> None:
    """Print a row: milliseconds per tree and ratios to BEAGLE."""
    rng = np.random.default_rng(3)
    n_taxa = problem.patterns.states.shape[0]
    children = random_topologies(n_taxa, problem.trees, rng)
    lengths = rng.exponential(0.1, (problem.trees, 2 * n_taxa - 3))
    packed, rates = pack(problem.patterns, n_states=problem.states), random_rates(problem.states, problem.categories)
    which = np.zeros(problem.trees, np.int64)
    ways = {
        "value": lambda: log_likelihoods(children, lengths, packed, rates, which),
        "lengths": lambda: evaluate(children, lengths, packed, rates, which, parameters=False),
        "all": lambda: evaluate(children, lengths, packed, rates, which),
    }
    values = ways["value"]()
    fastest = dict.fromkeys(("beagle", *ways), np.inf)
    for turn in range(TURNS):
        expected, milliseconds = beagle(program, problem, rates, children[0], lengths[0])
        if not np.isclose(values[0], expected, rtol=1e-9):
            sys.exit(f"{problem.name}: {values[0]} here, {expected} by BEAGLE")
        fastest["beagle"] = min(fastest["beagle"], milliseconds)
        for name, way in ways.items():
            for _ in range(REPEATS if turn else 1):
                start = time.perf_counter()
                way()
                fastest[name] = min(fastest[name], 1e3 * (time.perf_counter() - start) / problem.trees)
    row = "  ".join(f"{fastest[name]:8.4f}" for name in fastest)
    ratios = "  ".join(f"{fastest[name] / fastest['beagle']:6.2f}" for name in ways)
    sizes = f"{n_taxa:4d} {problem.patterns.weights.size:6d} {problem.states:4d} {problem.categories:3d}"
    print(f"{problem.name:20s} {sizes}  {row}   {ratios}", flush=True)


def measure_parts(patterns: SitePatterns, counts: tuple[int, ...], trees: int = 8) -> None:
    """Print rows: milliseconds per tree of value and all gradients, GTR+G4, each part with parameters of its own."""
    rng = np.random.default_rng(4)
    n_taxa, order = patterns.states.shape[0], rng.permutation(patterns.weights.size)
    children, lengths = random_topologies(n_taxa, trees, rng), rng.exponential(0.1, (trees, 2 * n_taxa - 3))
    fastest = dict.fromkeys(counts, np.inf)
    for parts in counts:
        cut = [np.sort(part) for part in np.array_split(order, parts)]
        packed = join([pack(SitePatterns(patterns.states[:, its].copy(), patterns.weights[its])) for its in cut])
        rates = Rates(*(np.repeat(array, parts, axis=0) for array in random_rates(4, 4)))
        which = np.tile(np.arange(parts), trees)
        for _ in range(REPEATS):
            start = time.perf_counter()
            evaluate(children, lengths, packed, rates, which)
            fastest[parts] = min(fastest[parts], 1e3 * (time.perf_counter() - start) / trees)
        print(f"{parts:5d} parts {fastest[parts]:8.4f}   {fastest[parts] / fastest[counts[0]]:6.2f}", flush=True)


def main() -> None:
    """Print the table."""
    set_threads(1)
    ds1, ds4 = patterns_of("DS1")[0], patterns_of("DS4")[0]
    problems = [
        Problem("DS1, GTR+G4", 4, 4, ds1, 8),
        Problem("DS1, GTR", 4, 1, ds1, 8),
        Problem("DS4, GTR+G4", 4, 4, ds4, 8),
        Problem("prot21, 20 states+G4", 20, 4, protein_patterns(), 1),
        Problem("simulated", 20, 4, simulated_patterns(21, 400, 20), 1),
        Problem("simulated", 20, 1, simulated_patterns(21, 400, 20), 1),
    ]
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "beagle"
        source = Path(__file__).with_name("beagle.c")
        subprocess.run(
            ["gcc", "-O2", "-I/usr/include/libhmsbeagle-1", source, "-lhmsbeagle", "-o", program], check=True
        )
        print("milliseconds per tree, and ratios to BEAGLE's value alone")
        print(f"{'':20s} taxa  patt. stat. cat    beagle     value   lengths       all    value lengths  all")
        for problem in problems:
            measure(program, problem)
    print("DS1, GTR+G4: milliseconds per tree, value and all gradients, and ratios to one part")
    measure_parts(ds1, (1, 10, 100))
    print("as many patterns as genes have: 27 taxa, 100 patterns for each of 100 parts")
    measure_parts(simulated_patterns(27, 10_000, 4), (1, 10, 100))


if __name__ == "__main__":
    main()
