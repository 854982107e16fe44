"""Time of one training iteration on DS1: K = 10, support of two files of 10,000 UFBoot trees, without and with a flow.

    VBPI_MIX_DATA=... python benchmarks/step.py [threads]

The baselines in the same run are the same step with log-normal lengths, and the same step differentiated by torch's graph,
with a dense gradient and dense Adam, which gives the same gradients (a test says so).
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from common import median_seconds, patterns_of, support_of

from vbpi_mix.estimators import Estimator
from vbpi_mix.phylo.branches.base import make_base
from vbpi_mix.phylo.branches.flows import FLOWS, make_flow
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.sbn.support import SubsplitSupport
from vbpi_mix.phylo.tables import layout
from vbpi_mix.training.adam import make_adam
from vbpi_mix.training.mixture_problem import MixtureProblem
from vbpi_mix.training.provenance import use_threads

CASES = ((1, 1, "a2a"), (4, 2, "s2a"), (4, 4, "a2a"), (4, 2, "s2s"))


def make_step(
    target: Posterior,
    support: SubsplitSupport,
    logits: object,
    case: tuple[int, int, str],
    flow: str = "none",
    direct: bool = True,
    lengths: str = "gamma",
) -> Callable[[], None]:
    """One training iteration of A components, S sampled, as the trainer does it."""
    n_components, sampled, name = case
    generator = torch.Generator().manual_seed(1)
    mixture = PhyloMixture(
        support, n_components, generator=generator, logits=logits, flow=make_flow(flow, support, generator),
        base=make_base(lengths), side_by_side=layout(n_components, name != "s2s") if direct else None,
    )  # fmt: skip
    problem = MixtureProblem(
        "phylo", target, mixture, estimator=Estimator.parse(name), sampled=sampled, particles=10, direct=direct
    )
    groups = problem.parameter_groups()
    if not direct:
        groups = [{key: value for key, value in group.items() if "row" not in key} for group in groups]
    optimiser = make_adam(groups)
    optimiser.set_learning_rate(1e-4)

    def step() -> None:
        objective = problem.objective(1, 1.0, generator)
        objective.bound.item()
        optimiser.zero_grad()
        optimiser.step(objective.backward())

    return step


def main() -> None:
    """Print milliseconds per iteration: with gamma and log-normal lengths, and with gammas through torch's graph."""
    threads = use_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2, torch_threads=1)
    patterns, _ = patterns_of("DS1")
    support, logits = support_of("DS1")
    print(f"DS1, {support.n_params:,} support elements, K = 10, {threads} threads; milliseconds per iteration")
    print("flow     A S estimator    gamma  lognormal   ratio   graph   ratio")
    for flow in FLOWS:
        for case in CASES:
            gamma, lognormal, graph = (
                1e3 * median_seconds(make_step(Posterior(patterns), support, logits, case, flow, direct, lengths), 100)
                for direct, lengths in ((True, "gamma"), (True, "lognormal"), (False, "gamma"))
            )
            print(
                f"{flow:8s} {case[0]} {case[1]} {case[2]:9s} {gamma:8.2f} {lognormal:10.2f} {gamma / lognormal:7.2f} "
                f"{graph:7.2f} {graph / gamma:7.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
