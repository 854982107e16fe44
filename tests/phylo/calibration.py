"""Simulation-based calibration: trees drawn from the prior, alignments simulated on them, and what fits say of the trees.

If answers are posteriors, the truth is anywhere in them: the posterior probability of a shorter tree than the true one is
uniform over data sets (Cook, Gelman and Rubin 2006; Talts et al. 2018), and of all splits that are given probability p a
share p is true.

    python tests/phylo/calibration.py --sets 200 --jobs 2 --figure docs/development/figures/calibration.png
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from scipy.stats import chi2, kstest, norm

import vbpi_mix
from vbpi_mix.estimators import Estimator, draw_components, log_importance_weights
from vbpi_mix.phylo.data.alignment import Alignment
from vbpi_mix.phylo.models.simulate import simulate_alignment
from vbpi_mix.phylo.report.weighted import (
    TopologyEstimates,
    WeightedTrees,
    draw_weighted_trees,
    topology_estimates,
    weighting,
)
from vbpi_mix.phylo.sampling.sources import obtain_tree_sample
from vbpi_mix.phylo.trees.sample import TreeSample
from vbpi_mix.phylo.trees.topology import canonicalise, clade_bitsets, enumerate_topologies, unique_topologies

DRAWS = 20_000
BINS = np.array([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
# A bin's sum is taken as normal from this variance on.
LEAST_VARIANCE = 10.0
# Of each test of a calibration.
FALSE_ALARM = 1e-3


@dataclass(frozen=True, eq=False)
class Answer:
    """Weighted draws of a small fit, their shares, and the probabilities of the topologies that were drawn."""

    trees: WeightedTrees
    shares: np.ndarray
    topologies: TopologyEstimates


@dataclass(frozen=True, eq=False)
class BinCounts:
    """Internal splits of one data set by their probability, float64 [B].

    splits: how many are in each bin. true: how many of them the true tree has. expected, variance: of the number that a
    tree has that is drawn from the posterior; splits of a tree are not independent.
    """

    splits: np.ndarray
    true: np.ndarray
    expected: np.ndarray
    variance: np.ndarray


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an answer says of the truth of one data set.

    tree_length, branch: posterior probability of a shorter tree, and of a shorter pendant edge of taxon 0, than the true
    ones. pareto_k, size: of the weights, size being their effective sample size.
    """

    tree_length: float
    branch: float
    splits: BinCounts
    pareto_k: float
    size: float


def answer(alignment: Alignment, sample: TreeSample, seed: int, iterations: int) -> Answer:
    """A small fit of a data set, and its weighted answer."""
    run = vbpi_mix.fit(alignment, sample, components=2, iterations=iterations, seed=seed, threads=1)
    generator = torch.Generator().manual_seed(seed)
    draw = draw_components(Estimator.A2A, run.mixture.n_components, None, generator)
    target = run.target
    trees = draw_weighted_trees(
        run.mixture,
        lambda drawn: log_importance_weights(target.log_likelihood(drawn), target.log_prior(drawn), drawn.log_q),
        draw, DRAWS, generator,
    )  # fmt: skip
    by = weighting(trees)
    return Answer(trees, by.shares, topology_estimates(trees, by))


def bin_splits(children: np.ndarray, probabilities: np.ndarray, truth: np.ndarray) -> BinCounts:
    """children int32 [U, n-2, 2], distinct, with probabilities float64 [U]; truth int32 [n-2, 2]. At most 64 taxa."""
    n_taxa = truth.shape[0] + 2
    own, of_truth = (clade_bitsets(c)[:, n_taxa:-1, 0] for c in (children, truth[None]))
    distinct, index = np.unique(own, return_inverse=True)
    index = index.reshape(own.shape)
    p = np.bincount(index.ravel(), np.repeat(probabilities, own.shape[1]))
    number = np.clip(np.searchsorted(BINS, p, side="right") - 1, 0, BINS.size - 2)
    counts = (number[index][:, :, None] == np.arange(BINS.size - 1)).sum(axis=1)
    expected = probabilities @ counts
    # A split that no topology has has probability zero.
    met = np.isin(of_truth[0], distinct)
    of_true = np.where(met, number[np.minimum(np.searchsorted(distinct, of_truth[0]), distinct.size - 1)], 0)
    return BinCounts(
        splits=np.bincount(number, minlength=BINS.size - 1).astype(float),
        true=np.bincount(of_true, minlength=BINS.size - 1).astype(float),
        expected=expected,
        variance=probabilities @ counts**2 - expected**2,
    )


def outcome(found: Answer, children: np.ndarray, lengths: np.ndarray) -> Outcome:
    """children int32 [n-2, 2], lengths float64 [E]: the tree that the data were simulated on."""
    # The last edge is the one to taxon 0, in any numbering.
    shorter = found.trees.lengths.sum(axis=1) < lengths.sum()
    shorter_branch = found.trees.lengths[:, -1] < lengths[-1]
    return Outcome(
        tree_length=float(found.shares @ shorter),
        branch=float(found.shares @ shorter_branch),
        splits=bin_splits(found.trees.children, found.topologies.probabilities, children),
        pareto_k=found.trees.smoothed.pareto_k,
        size=found.trees.effective_sample_size,
    )


def eight_taxa(seed: int, generations: int = 20_000, iterations: int = 1000) -> Outcome:
    """A data set of 8 taxa and 200 sites, its tree sample from short chains."""
    alignment, children, lengths = simulate_alignment(8, 200, seed)
    sample, _ = obtain_tree_sample(alignment, "mcmc", generations=generations, seed=seed, threads=1)
    return outcome(answer(alignment, sample, seed, iterations), children, lengths)


@dataclass(frozen=True, eq=False)
class ExactOutcome:
    """A data set of 5 taxa: the outcome of the weighted answer; splits under the exact posterior; estimates less exact
    probabilities of the topologies drawn, and their errors, float64 [U].
    """

    weighted: Outcome
    exact: BinCounts
    differences: np.ndarray
    errors: np.ndarray


def five_taxa(seed: int, sites: int = 7, iterations: int = 1000) -> ExactOutcome:
    """A data set of 5 taxa, short enough for exact quadrature; the support holds all topologies."""
    from reference.jukes_cantor import exact_log_marginal

    alignment, children, lengths = simulate_alignment(5, sites, seed)
    topologies = enumerate_topologies(5)
    count = topologies.shape[0]
    even = np.full(count, 1 / count)
    sample = TreeSample(alignment.taxa, topologies, even, np.arange(count), even, None, ())
    found = answer(alignment, sample, seed, iterations)
    log_p = np.array([exact_log_marginal(c, alignment.states, np.ones(sites)) for c in topologies])
    exact = np.exp(log_p - np.logaddexp.reduce(log_p))
    _, index = unique_topologies(np.concatenate([canonicalise(topologies)[0], found.trees.children]))
    own = exact[index[count:]]
    return ExactOutcome(
        weighted=outcome(found, children, lengths),
        exact=bin_splits(topologies, exact, children),
        differences=found.topologies.probabilities - own,
        errors=found.topologies.errors,
    )


@dataclass(frozen=True, eq=False)
class Reliability:
    """Splits by predicted probability, float64 [B] of the bins that hold enough: mean prediction, share that is true,
    standard error of the difference, and difference over error."""

    predicted: np.ndarray
    true: np.ndarray
    error: np.ndarray
    z: np.ndarray

    @property
    def p_value(self) -> float:
        """Of the largest |z|, by Bonferroni; 1 if no bin holds enough."""
        return min([1.0, *(2 * self.z.size * norm.sf(np.abs(self.z))).tolist()])


def reliability(counts: Sequence[BinCounts]) -> Reliability:
    """Of all data sets together, which are independent."""
    splits, true, expected, variance = (
        np.sum([getattr(each, name) for each in counts], axis=0) for name in ("splits", "true", "expected", "variance")
    )
    kept = variance >= LEAST_VARIANCE
    splits, true, expected, error = splits[kept], true[kept], expected[kept], np.sqrt(variance[kept])
    return Reliability(expected / splits, true / splits, error / splits, (true - expected) / error)


def uniformity(probabilities: Sequence[float]) -> float:
    """p value of Kolmogorov and Smirnov's test that these are uniform on (0, 1)."""
    return float(kstest(list(probabilities), "uniform").pvalue)


def agreement(differences: Sequence[np.ndarray], errors: Sequence[np.ndarray]) -> float:
    """p value of a chi-square test that differences from exact probabilities are as large as their errors say.

    Of each data set the difference counts that is expected to be the largest; those of other data sets are independent.
    """
    largest = [int(np.argmax(each)) for each in errors]
    z = np.array([d[k] / e[k] for d, e, k in zip(differences, errors, largest, strict=True)])
    return float(chi2.sf((z**2).sum(), z.size))


def p_values(eight: Sequence[Outcome], five: Sequence[ExactOutcome]) -> dict[str, float]:
    """Of every test, by name; each is below FALSE_ALARM with that probability if all is right."""
    weighted = [each.weighted for each in five]
    found = {}
    for name, outcomes in (("8 taxa", eight), ("5 taxa", weighted)):
        if outcomes:
            found[f"{name}: tree length"] = uniformity([each.tree_length for each in outcomes])
            found[f"{name}: branch of taxon 0"] = uniformity([each.branch for each in outcomes])
            found[f"{name}: splits"] = reliability([each.splits for each in outcomes]).p_value
    if five:
        found["5 taxa, exact posterior: splits"] = reliability([each.exact for each in five]).p_value
        found["5 taxa: topologies against exact"] = agreement(
            [each.differences for each in five], [each.errors for each in five]
        )
    return found


def draw(path: Path, eight: Sequence[Outcome], five: Sequence[ExactOutcome]) -> None:
    """Left: how often the truth is below each quantile, less what is expected, with a band. Right: splits."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 7))
    groups = (("8 taxa, 200 sites", eight), ("5 taxa, 7 sites", [each.weighted for each in five]))
    for (left, right), (name, outcomes) in zip(axes, groups, strict=True):
        count = len(outcomes)
        # Kolmogorov and Smirnov's limit at FALSE_ALARM.
        limit = math.sqrt(-math.log(FALSE_ALARM / 2) / (2 * count))
        left.axhspan(-limit, limit, color="0.9", label=f"a line stays within with probability {1 - FALSE_ALARM:.1%}")
        left.axhline(0, color="0.6", linewidth=0.8)
        for label, values in (
            ("tree length", [each.tree_length for each in outcomes]),
            ("pendant edge of taxon 0", [each.branch for each in outcomes]),
        ):
            grid = np.linspace(0, 1, 1001)
            left.plot(grid, np.searchsorted(np.sort(values), grid, side="right") / count - grid, label=label)
        left.set(title=f"{name}: {count} data sets", xlabel="posterior probability of shorter than the truth",
                 ylabel="share of data sets below it, less it", xlim=(0, 1))  # fmt: skip
        left.legend(fontsize=8, loc="upper right")
        found = reliability([each.splits for each in outcomes])
        right.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
        right.errorbar(found.predicted, found.true, 2 * found.error, fmt="o", capsize=3, label="weighted answer, two errors")
        if outcomes is not eight:
            exact = reliability([each.exact for each in five])
            right.errorbar(
                exact.predicted, exact.true, 2 * exact.error, fmt="s", mfc="none", capsize=3, label="exact posterior"
            )
        right.set(title=f"{name}: splits", xlabel="predicted probability", ylabel="share that is true",
                  xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))  # fmt: skip
        right.legend(fontsize=8, loc="upper left")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def compute(sets: int, jobs: int = 1, first: int = 0) -> tuple[list[Outcome], list[ExactOutcome]]:
    """Outcomes of the data sets `first` to `first + sets`, of 8 taxa and of 5."""
    seeds = range(first, first + sets)
    if jobs == 1:
        return [eight_taxa(seed) for seed in seeds], [five_taxa(seed) for seed in seeds]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return list(pool.map(eight_taxa, seeds)), list(pool.map(five_taxa, seeds))


def main() -> None:
    """Print p values, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    eight, five = compute(options.sets, options.jobs)
    for name, p in p_values(eight, five).items():
        print(f"{name}: p = {p:.3g}")
    for name, outcomes in (("8 taxa", eight), ("5 taxa", [each.weighted for each in five])):
        sizes, tails = [each.size for each in outcomes], [each.pareto_k for each in outcomes]
        print(f"{name}: effective sample size at least {min(sizes):.0f}, Pareto k at most {max(tails):.2f}")
    if options.figure:
        draw(options.figure, eight, five)


if __name__ == "__main__":
    main()
