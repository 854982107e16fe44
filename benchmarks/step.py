"""Time of one training iteration on DS1: K = 10, support of two files of 10,000 UFBoot trees.

    VBPI_MIX_DATA=... python benchmarks/step.py [threads]

The baseline in the same run is the same step differentiated by torch's graph; both give the same gradients (a test
says so).
"""

from __future__ import annotations

import sys

import torch
from common import median_seconds, patterns_of, support_of

from vbpi_mix.estimators import Estimator
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.target import PhyloTarget
from vbpi_mix.training.adam import make_adam
from vbpi_mix.training.mixture_problem import MixtureProblem
from vbpi_mix.training.provenance import use_threads

CASES = ((1, 1, "a2a"), (4, 2, "s2a"), (4, 4, "a2a"), (4, 2, "s2s"))


def main() -> None:
    """Print milliseconds per iteration, direct and through torch's graph."""
    threads = use_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2, torch_threads=1)
    packed, _ = patterns_of("DS1")
    support, logits = support_of("DS1")
    print(f"DS1, {support.n_params:,} support elements, K = 10, {threads} threads; milliseconds per iteration")
    print("A S estimator   direct   graph   ratio")
    for n_components, sampled, name in CASES:
        times = []
        for direct in (True, False):
            generator = torch.Generator().manual_seed(1)
            mixture = PhyloMixture(support, n_components, generator=generator, logits=logits)
            problem = MixtureProblem(
                "phylo", PhyloTarget(packed), mixture, estimator=Estimator.parse(name), sampled=sampled, particles=10
            )
            if not direct:
                problem._direct = None
            optimiser = make_adam(problem.parameter_groups())
            optimiser.set_learning_rate(1e-3)

            def step(problem=problem, optimiser=optimiser, generator=generator) -> None:
                objective = problem.objective(1, 1.0, generator)
                objective.bound.item()
                optimiser.zero_grad()
                objective.backward()
                optimiser.step()

            times.append(1e3 * median_seconds(step))
        print(f"{n_components} {sampled} {name:9s} {times[0]:8.2f} {times[1]:7.2f} {times[1] / times[0]:7.2f}")


if __name__ == "__main__":
    main()
