"""What support, encoding, normalisation and a training step cost as the taxa become more: time and memory.

    python benchmarks/taxa.py [--taxa 50 100 200 436 1000]

Every number of taxa has random patterns, 1,000 of them, and a sample of as many trees as are asked for: each tree is a
neighbour of an earlier one, among the last hundred, by one nearest-neighbour interchange, so that what a sample holds grows with
the taxa and not with their square. A = 4, S = 2, S2A, K = 10, no flow, one thread; processor time. Memory is the largest that the
process held, one process for each number of taxa.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from vbpi_mix.estimators import Estimator
from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.sbn import networks
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.topology import canonicalise, random_topology, unique_topologies
from vbpi_mix.training.adam import make_adam
from vbpi_mix.training.mixture_problem import MixtureProblem
from vbpi_mix.training.provenance import use_threads

PATTERNS, LAST, COMPONENTS, SAMPLED, PARTICLES, STEPS = 1_000, 100, 4, 2, 10, 30
COLUMNS = ("taxa", "trees", "splits", "elements", "support s", "encode s", "EM s", "normalise ms", "step ms", "MB")


def sample_of_neighbours(n_taxa: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Distinct topologies, int32 [at most count, n-2, 2]."""
    trees = [random_topology(n_taxa, rng)]
    for _ in range(count - 1):
        tree = trees[-int(rng.integers(1, min(LAST, len(trees)) + 1))].copy()
        # Across the edge above an internal node, its sibling changes places with one of its children.
        parents, sides = np.nonzero(tree >= n_taxa)
        chosen, child = int(rng.integers(parents.size)), int(rng.integers(2))
        parent, side = parents[chosen], sides[chosen]
        lower, sibling = tree[parent, side] - n_taxa, tree[parent, 1 - side]
        tree[parent, 1 - side], tree[lower, child] = tree[lower, child], sibling
        trees.append(tree)
    return unique_topologies(canonicalise(np.stack(trees))[0])[0]


def seconds_of(function: Callable[[], Any], calls: int = 1) -> tuple[float, Any]:
    """Processor seconds of a call, the fastest of `calls`, and what the last gave."""
    best, given = np.inf, None
    for _ in range(calls):
        start = time.process_time()
        given = function()
        best = min(best, time.process_time() - start)
    return best, given


def measure(n_taxa: int, count: int) -> tuple[float | int, ...]:
    """A row of the table; kernels are compiled before."""
    use_threads(1)
    rng = np.random.default_rng(n_taxa)
    states = (1 << rng.integers(0, 4, (n_taxa, PATTERNS))).astype(np.uint64)
    posterior = Posterior(SitePatterns(states, np.ones(PATTERNS)))
    children = sample_of_neighbours(n_taxa, count, rng)
    build, support = seconds_of(lambda: build_support(children))
    encode, encoded = seconds_of(lambda: support.encode(children), 3)
    weights = np.full(len(encoded), 1.0 / len(encoded))
    em, logits = seconds_of(lambda: networks.fit_em(support, encoded, weights))
    normalise, _ = seconds_of(lambda: networks.normalise(np.tile(logits, (COMPONENTS, 1)), support), 10)
    mixture = PhyloMixture(support, COMPONENTS, generator=torch.Generator().manual_seed(1), logits=logits)
    problem = MixtureProblem(
        "phylo", posterior, mixture, estimator=Estimator.S2A, sampled=SAMPLED, particles=PARTICLES, direct=True
    )
    optimiser = make_adam(problem.parameter_groups())
    optimiser.set_learning_rate(1e-4)
    generator = torch.Generator().manual_seed(2)

    def step() -> None:
        objective = problem.objective(1, 1.0, generator)
        optimiser.zero_grad()
        optimiser.step(objective.backward())

    step_seconds, _ = seconds_of(step, STEPS)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        n_taxa, len(encoded), support.n_splits, support.n_params, build, encode, em, 1e3 * normalise, 1e3 * step_seconds, peak,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--taxa", type=int, nargs="+", default=[50, 100, 200, 436, 1000])
    parser.add_argument("--trees", type=int, default=2_000)
    parser.add_argument("--row", action="store_true", help="the row of one number of taxa, in this process")
    given = parser.parse_args()
    if given.row:
        measure(10, 50)  # compiles
        row = measure(given.taxa[0], given.trees)
        print("| " + " | ".join(f"{value:,.3g}" if isinstance(value, float) else f"{value:,}" for value in row) + " |")
        return
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
    for n_taxa in given.taxa:
        arguments = [sys.executable, __file__, "--row", "--taxa", str(n_taxa), "--trees", str(given.trees)]
        print(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout, end="", flush=True)


if __name__ == "__main__":
    main()
