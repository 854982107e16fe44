"""Row-wise Adam against dense Adam on DS1: what the bound of ten particles and the single-sample ELBO come to.

    VBPI_MIX_DATA=... python benchmarks/row_adam.py [--iterations 3000] [--flow realnvp] [--threads 1]

Both train the same model from the same warm start with the same seed and the program's learning rates (pairs at the rate
of splits); dense Adam gets the same gradient with its zeros, and goes on moving rows that a step did not touch.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from common import data_folder, patterns_of

from vbpi_mix.estimators import Estimator
from vbpi_mix.evaluation import evaluate
from vbpi_mix.phylo.branches.flows import FLOWS, make_flow
from vbpi_mix.phylo.learning_rates import LearningRates, learning_rates
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.sbn import networks as sbn
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.start import warm_start
from vbpi_mix.phylo.trees.sample import read_tree_sample
from vbpi_mix.training.adam import make_adam
from vbpi_mix.training.mixture_problem import MixtureProblem
from vbpi_mix.training.provenance import use_threads
from vbpi_mix.training.schedules import cosine_learning_rate


def train(problem: MixtureProblem, rates: LearningRates, iterations: int, dense: bool) -> tuple[float, float]:
    """Mean bound of the last tenth of the iterations, and milliseconds per iteration."""
    groups = [
        {**group, "multiplier": rates.multipliers.get(group["name"], 1.0)} for group in problem.parameter_groups()
    ]
    if dense:  # then gradients by row are filled up with zeros
        groups = [{k: v for k, v in group.items() if k not in ("by_row", "row_multipliers")} for group in groups]
    adam, generator = make_adam(groups), torch.Generator().manual_seed(1)
    learning_rate = rates.learning_rate
    assert learning_rate is not None  # only the published schedule leaves it to itself
    bounds, begin = [], time.perf_counter()
    for t in range(iterations):
        adam.set_learning_rate(cosine_learning_rate(t / iterations, learning_rate, 0.01))
        objective = problem.objective(t + 1, 1.0, generator)
        bounds.append(objective.bound.item())
        adam.zero_grad()
        adam.step(objective.backward())
    milliseconds = 1e3 * (time.perf_counter() - begin) / iterations
    return float(np.mean(bounds[-iterations // 10 :])), milliseconds


def main() -> None:
    """Print both, for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=3000)
    parser.add_argument("--flow", default="none", choices=FLOWS)
    parser.add_argument("--A", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    use_threads(options.threads, torch_threads=1)
    patterns, taxa = patterns_of("DS1")
    paths = [data_folder() / "DS1" / "ufboot" / f"rep_{k}.ufboot.gz" for k in (1, 2)]
    sample = read_tree_sample(paths, taxa)
    support, target = build_support(sample.children), Posterior(patterns)
    encoded = support.encode(sample.children)
    start = warm_start(support, encoded, sample.weights, target, np.random.default_rng(1))
    logits = sbn.fit_em(support, encoded, start.weights)
    rates = learning_rates("default", options.flow, "warm", "lognormal")
    print("flow     seed Adam   bound K=10       ELBO (se)  ms per iteration")
    for seed in options.seeds:
        for dense in (False, True):
            generator = torch.Generator().manual_seed(seed)
            flow = make_flow(options.flow, support, generator)
            mixture = PhyloMixture(
                support, options.A, generator=generator, logits=logits, features=start.features, flow=flow
            )
            problem = MixtureProblem(
                "phylo", target, mixture, estimator=Estimator.A2A, sampled=options.A, particles=10, direct=True
            )
            bound, milliseconds = train(problem, rates, options.iterations, dense)
            found = evaluate(mixture, target, importance_samples=1000, repeats=10, generator=generator)
            elbo = f"{found.elbo:.2f} ({found.elbo_standard_error:.2f})"
            print(
                f"{options.flow:8s} {seed:4d} {'dense' if dense else 'rows ':5s} {bound:11.3f} {elbo:>16s} {milliseconds:8.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
