"""Where training starts: support, networks and branch features from gamma approximations of the posterior.

The most frequent topologies of the tree sample are approximated one by one (approximation.py), which gives each its share
of the posterior. The support grows by neighbours that it lacks and that matter (growth.py), and by what the networks draw
from it although the sample has it not. Branch features are the regression of what the base density is nearest to on the
features of the edges, all topologies counting alike: what is learned from rare ones keeps the answer right where the fit is
not yet. The networks are a mixture fitted by expectation maximisation to the shares, and not to how often a sample met a
topology. Where the posterior is too diffuse for its topologies to be approximated one by one, the shares of the others come
from importance-weighted draws of the mixture itself, which is adaptive importance sampling; or, of many taxa, from the sample.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from vbpi_mix.phylo.approximation import GammaApproximations, approximate, laplace, refine
from vbpi_mix.phylo.branches.base import BaseDensity
from vbpi_mix.phylo.branches.regression import predict, regress
from vbpi_mix.phylo.growth import EXPANDED_AT_MOST, grow
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.sbn import networks
from vbpi_mix.phylo.sbn.mixtures import fit_mixture
from vbpi_mix.phylo.sbn.support import EncodedTopologies, SubsplitSupport, build_support
from vbpi_mix.phylo.shares import Table, adapt, joined
from vbpi_mix.phylo.trees.sample import TreeSample
from vbpi_mix.phylo.trees.topology import canonicalise, unique_topologies

# At most so many topologies are approximated. Rare ones are worth it: leaving out the last half percent of the sample of
# DS1 took the divergence from the golden runs from 0.007 to 0.020.
MAX_TOPOLOGIES = 2_500
# With little effort, still so many, and so many looked around.
FEWEST_TOPOLOGIES, FEWEST_EXPANDED = 100, 8
# And with more taxa than these, fewer are looked around.
TAXA_OF_FULL_GROWTH = 27
# Unless even these hold less than so much of the sample: then so few, which are enough for the branch features, and the
# networks learn from weighted draws.
CONCENTRATED, MAX_OF_DIFFUSE = 0.95, 1_000
# The modes of so many, the most frequent, are searched from the same length everywhere; those of the others are predicted
# from the features of their edges.
PILOTS = 300
# Of all approximated topologies together, beyond the first draws of each.
REFINING_DRAWS = 100_000
# How often topologies that the networks draw but nobody has approximated are looked for, in how many draws, and the share
# of new ones that is small enough.
COMPLETIONS = 6
DRAFT_DRAWS = 10_000
DRAFT_ITERATIONS = 30
COMPLETE = 0.005
# Rounds of adaptive importance sampling, and draws in each, where more of the posterior than this is not approximated.
ADAPTIVE_ROUNDS = 4
ADAPTIVE_DRAWS = 50_000
ADAPTIVE_ITERATIONS = 6
LEAST_ADAPTIVE = 0.2
# Independent draws that a sample is taken to be worth beside the draws of these rounds. Without it networks of a diffuse
# posterior are fitted to a thousand draws or so, and forget what was not among them.
SAMPLE_WORTH = 500.0
NEARLY_ALL = 0.005
# Above so many taxa the frequencies of a sample of a diffuse posterior are better than what is computed of its topologies: their
# log marginal likelihoods have errors of nats there, which make a few topologies weigh as much as all others.
TAXA_OF_NOISE = 64
# Most topologies of a sample whose worth is predicted; the others are taken to be worth as little as the least of these.
MOST_SCREENED, SCREENING_STEPS = 50_000, 1
# And above 64 taxa, as many as have so many nodes together: time and memory would grow with the taxa otherwise.
MOST_NODES_SCREENED = 64 * MOST_SCREENED


@dataclass(frozen=True, eq=False)
class WarmStart:
    """What a fit starts from.

    support; features float64 [n_features, C], of the base density; topologies int32 [U, n-2, 2], and their shares of the
    posterior, weights float64 [U]; logits float64 [A, n_params]. added: how many topologies the sample lacked; missing:
    about the share of the posterior on neighbours that the support lacks, None where they were not looked for.
    """

    support: SubsplitSupport
    features: np.ndarray
    topologies: np.ndarray
    weights: np.ndarray
    logits: np.ndarray
    added: int
    missing: float | None


def warm_start(
    sample: TreeSample,
    posterior: Posterior,
    base: BaseDensity,
    n_components: int,
    rng: np.random.Generator,
    *,
    split_only: bool = False,
    growing: bool = True,
    max_topologies: int = MAX_TOPOLOGIES,
    effort: float = 1.0,
) -> WarmStart:
    """Start values from a tree sample, at most `max_topologies` of whose topologies are approximated.

    split_only: features of splits, and not of primary subsplit pairs. growing: also look for topologies that the sample
    lacks; otherwise the support is that of the sample. effort: the share of the usual numbers of topologies and draws.
    """
    max_topologies = max(FEWEST_TOPOLOGIES, int(max_topologies * effort))
    support = build_support(sample.children)
    table, diffuse = _examine(sample, support, posterior, rng, split_only, max_topologies, effort)
    chosen, found = table.approximated, table.found
    trusted = support.n_taxa > TAXA_OF_NOISE and (diffuse or _is_spread(sample, max_topologies))
    missing = None
    if growing:
        support, growth = grow(
            support, sample.children[chosen], found, posterior, rng, sample.children,
            **_limits_of_growth(support.n_taxa, effort, diffuse or trusted, max_topologies),
        )  # fmt: skip
        table = table.with_more(growth.children, growth.approximations)
        missing = growth.missing
    if not trusted:
        table = _complete(table, support, posterior, rng, split_only, max_topologies)
        found = refine(table.topologies[table.approximated], table.found, posterior, rng, int(REFINING_DRAWS * effort))
        table = replace(table, found=found)
    encoded = support.encode(table.topologies)
    rows = _rows(encoded.take(table.approximated), split_only)
    features = regress(rows, base.features_of(table.found), np.ones(rows.shape[0]), support)
    topologies, weights = table.topologies, table.weights()
    rounds = max(2, int(ADAPTIVE_ROUNDS * effort))
    if trusted:
        # The sample's topologies come first in the table; what growth added has been met by nobody.
        weights, rounds = np.zeros(weights.size), 0
        weights[: sample.weights.size] = sample.weights / sample.weights.sum()
    elif not diffuse and weights[table.approximated].sum() > 1.0 - NEARLY_ALL:
        rounds = 0
    # Networks that only serve to draw from once need not be a mixture.
    logits = (
        fit_mixture(support, encoded, weights, 1, rng, iterations=ADAPTIVE_ITERATIONS)
        if rounds
        else fit_mixture(support, encoded, weights, n_components, rng)
    )
    size = SAMPLE_WORTH
    for k in range(rounds):
        mixture = PhyloMixture(
            support, logits.shape[0], generator=torch.Generator(), base=base,
            branch_model="split" if split_only else "psp", logits=logits, features=features,
        )  # fmt: skip
        drawn, own, worth = adapt(table, mixture, posterior, rng, int(ADAPTIVE_DRAWS * max(effort, LEAST_ADAPTIVE)))
        size += worth
        topologies, weights = joined((topologies, weights), (drawn, own), worth / size)
        logits = fit_mixture(
            support, support.encode(topologies), weights, n_components, rng, iterations=ADAPTIVE_ITERATIONS,
            start=logits if k > 0 else None,
        )  # fmt: skip
    return WarmStart(
        support, features, topologies, weights, logits, table.predicted.size - sample.weights.size, missing
    )


def _is_spread(sample: TreeSample, count: int) -> bool:
    """Whether the `count` most frequent topologies are not nearly all of a sample."""
    return bool(np.sort(sample.weights)[::-1][:count].sum() < CONCENTRATED * sample.weights.sum())


def _limits_of_growth(n_taxa: int, effort: float, diffuse: bool, max_topologies: int) -> dict[str, int]:
    """Arguments of `grow`: a topology has 2n - 6 neighbours, and those of a diffuse posterior are not worth a search."""
    if effort >= 1.0 and n_taxa <= TAXA_OF_NOISE:
        return {"at_most": EXPANDED_AT_MOST}
    share = effort * min(1.0, TAXA_OF_FULL_GROWTH / n_taxa)
    at_most = max(FEWEST_EXPANDED, int(EXPANDED_AT_MOST * share))
    if n_taxa > TAXA_OF_NOISE:
        at_most = max(1, min(at_most, MOST_NODES_SCREENED // (n_taxa * (2 * n_taxa - 6))))
    if diffuse:
        return {"at_most": at_most, "add_at_most": FEWEST_TOPOLOGIES // 2, "rounds": 1}
    return {"at_most": at_most, "add_at_most": max_topologies}


def _rows(encoded: EncodedTopologies, split_only: bool) -> np.ndarray:
    """Features of the edges, int32 [T, E, 3], of splits only if asked for."""
    return np.where(np.arange(3) > 0, -1, encoded.rows) if split_only else encoded.rows


def _examine(
    sample: TreeSample,
    support: SubsplitSupport,
    posterior: Posterior,
    rng: np.random.Generator,
    split_only: bool,
    max_topologies: int,
    effort: float,
) -> tuple[Table, bool]:
    """The topologies of a sample, those that matter most approximated; and whether these are not nearly all that matters.

    The most frequent ones are approximated first. From the features of their edges the lengths of all others are predicted,
    and with these what each is worth, to a nat or so: what a bootstrap met once may be probable, and the other way round.
    """
    order = np.argsort(-sample.weights, kind="stable")
    pilot_count = min(max(min(PILOTS, FEWEST_TOPOLOGIES), int(PILOTS * effort)), max_topologies)
    screened_at_most = min(MOST_SCREENED, MOST_NODES_SCREENED // support.n_taxa)
    first, others = order[:pilot_count], order[pilot_count : pilot_count + screened_at_most]
    pilots = approximate(sample.children[first], posterior, rng)
    log_worth = np.full(sample.weights.size, -np.inf)
    log_worth[first] = pilots.log_marginal
    if others.size == 0:
        return Table(sample.children, log_worth, first, pilots), False
    rest = slice(first.size, first.size + others.size)
    rows = _rows(support.encode(sample.children[order[: rest.stop]]), split_only)
    modes, shapes = _guess(rows, rows[: first.size], pilots, support)
    known = slice(0, first.size)
    seen = laplace(sample.children[first], modes[known], shapes[known], posterior, SCREENING_STEPS)[0]
    bias = float(np.median(pilots.log_marginal - seen))
    screened, better = laplace(sample.children[others], modes[rest], shapes[rest], posterior, SCREENING_STEPS)
    log_worth[others] = screened + bias
    log_worth[order[rest.stop :]] = screened.min() + bias
    ranked = np.argsort(-screened, kind="stable")
    shares = np.exp(log_worth - np.logaddexp.reduce(log_worth))
    room = max_topologies - first.size
    held = shares[first].sum() + shares[others[ranked[:room]]].sum()
    diffuse = bool(held < CONCENTRATED)
    if diffuse:
        room = max(FEWEST_TOPOLOGIES, int(MAX_OF_DIFFUSE * effort)) - first.size
        # Frequencies are less noisy than predictions, if not as right.
        with np.errstate(divide="ignore"):
            frequency = np.log(sample.weights)
        log_worth[others] = frequency[others] + np.logaddexp.reduce(screened + bias) - np.logaddexp.reduce(frequency[others])
    taken = ranked[: max(room, 0)]
    more = approximate(sample.children[others[taken]], posterior, rng, better[taken], shapes[rest][taken])
    table = Table(sample.children, log_worth, np.concatenate([first, others[taken]]), pilots.joined(more))
    return table, diffuse


def _guess(
    wanted: np.ndarray, rows: np.ndarray, found: GammaApproximations, support: SubsplitSupport
) -> tuple[np.ndarray, np.ndarray]:
    """Modes and shapes [V, E] of topologies with features wanted int32 [V, E, 3], from those of others with rows [T, E, 3]."""
    values = np.stack([found.mode, np.log(found.shape)], axis=2)
    sums = predict(regress(rows, values, np.ones(rows.shape[0]), support), wanted)
    return sums[:, :, 0], np.exp(sums[:, :, 1])


def _complete(
    table: Table,
    support: SubsplitSupport,
    posterior: Posterior,
    rng: np.random.Generator,
    split_only: bool,
    max_topologies: int,
) -> Table:
    """The table with topologies that a network fitted to it draws and that it lacks, the most often drawn first.

    A support holds more than the topologies it was made of, and where a sample is small for its posterior most of the mass
    may be there.
    """
    for _ in range(COMPLETIONS):
        room = max_topologies - table.approximated.size
        if room <= 0:
            break
        encoded = support.encode(table.topologies)
        new, share = _drawn_but_unknown(support, encoded, table.weights(), rng)
        if new.shape[0] == 0:
            break
        rows = _rows(encoded.take(table.approximated), split_only)
        guess = _guess(_rows(support.encode(new[:room]), split_only), rows, table.found, support)
        table = table.with_more(new[:room], approximate(new[:room], posterior, rng, *guess))
        if share < COMPLETE:
            break
    return table


def _drawn_but_unknown(
    support: SubsplitSupport, encoded: EncodedTopologies, weights: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Topologies int32 [V, n-2, 2], canonical, that a network fitted to the encoded ones draws and that are not among them,
    the most often drawn first; and their share of the draws.
    """
    logits = fit_mixture(support, encoded, weights, 1, rng, iterations=DRAFT_ITERATIONS)
    _, probabilities = networks.normalise(logits, support)
    drawn = networks.draw_topologies(
        probabilities, support, np.zeros(DRAFT_DRAWS, np.int64), rng.random((DRAFT_DRAWS, support.n_taxa - 1))
    )
    children, index = unique_topologies(canonicalise(np.concatenate([encoded.children, drawn.children]))[0])
    times = np.bincount(index[len(encoded) :], minlength=children.shape[0])
    times[index[: len(encoded)]] = 0
    order = np.argsort(-times, kind="stable")
    return children[order[: int((times > 0).sum())]], float(times.sum()) / DRAFT_DRAWS
