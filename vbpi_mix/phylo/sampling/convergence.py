"""Whether the runs of a sampler agree, and whether they have arrived where the posterior is.

Runs are compared by the frequencies of what a support is made of: splits, tripartitions and their neighbourhoods. Each
is the probability of a set of topologies, so one number says how well the weights of topologies are known, whether a
few of them hold the posterior or each is seen once. ASDSF, a mean over splits, does not say it: on DS1 it fell below 0.01
while the weight of an island of trees, on which a few splits depend, was off by 0.14.

Batch means: Flegal and Jones (2010), "Batch means and spectral variance estimators in Markov chain Monte Carlo". The
trend is Geweke's (1992) comparison of two parts of a chain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vbpi_mix.phylo.sbn.splits import SplitTable, average_standard_deviation
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.topology import unique_topologies

# Parts of each run, in time, between which frequencies are compared.
BATCHES = 4
# A log posterior rises if the second half of a run is above the first by more than so many standard errors.
RISING_ERRORS = 3.0
_TREND_BATCHES = 10


@dataclass(frozen=True)
class Convergence:
    """How far runs are.

    asdsf: of the runs. agreement: share of a run's trees, by weight, that a support of the other runs' trees holds, on
    average. Both NaN for a single run. weight_error: the largest standard error of the frequency of a split,
    tripartition or neighbourhood in all runs together, from batches of each in time. new_mass: share of a batch's trees,
    by weight, that a support of all other batches does not hold, on average: what one more batch would still bring.
    rising: whether the log posterior of a run is.
    """

    asdsf: float = float("nan")
    agreement: float = float("nan")
    weight_error: float = float("nan")
    new_mass: float = float("nan")
    rising: bool = False


def assess(children: np.ndarray, weights: np.ndarray, batch: np.ndarray, log_posterior: np.ndarray) -> Convergence:
    """How far R runs are.

    children: int32 [R, N, n-2, 2], canonical; weights: float64 [R, N], a positive sum in each batch; batch: int64 [N],
    the part of its run that a tree is from, 0 ... BATCHES - 1; log_posterior: float64 [R, M], in the order of time.
    """
    runs = weights.shape[0]
    topologies, index = unique_topologies(children.reshape(-1, *children.shape[2:]))
    count = topologies.shape[0]
    cell = (np.arange(runs)[:, None] * BATCHES + batch) * count + index.reshape(runs, -1)
    shape = runs * BATCHES, count
    masses = np.bincount(cell.ravel(), weights.ravel(), shape[0] * count).reshape(shape)
    present = np.bincount(cell.ravel(), minlength=shape[0] * count).reshape(shape) > 0
    elements = _Elements.of(topologies)
    of_batches = elements.frequencies(masses)
    asdsf = agreement = float("nan")
    if runs > 1:
        of_runs = masses.reshape(runs, BATCHES, count).sum(axis=1)
        asdsf = elements.asdsf(elements.frequencies(of_runs))
        in_runs = np.asarray(present.reshape(runs, BATCHES, count).any(axis=1))
        agreement = elements.held_by_others(of_runs, in_runs)
    return Convergence(
        asdsf=asdsf,
        agreement=agreement,
        weight_error=float((of_batches.std(axis=0, ddof=1) / np.sqrt(shape[0])).max()),
        new_mass=1.0 - elements.held_by_others(masses, present),
        rising=is_rising(log_posterior),
    )


def is_rising(log_posterior: np.ndarray) -> bool:
    """Whether the second half of any run, float64 [R, M], M >= 4, is above its first by RISING_ERRORS standard errors.

    The errors are those of batch means, which hold what is correlated over less than a batch.
    """
    half = log_posterior.shape[1] // 2
    batches = min(_TREND_BATCHES, half)
    length = half // batches
    used = log_posterior[:, -2 * batches * length :].reshape(-1, 2, batches, length).mean(axis=3)
    rise = used[:, 1].mean(axis=1) - used[:, 0].mean(axis=1)
    error = np.sqrt(used.var(axis=2, ddof=1).sum(axis=1) / batches)
    return bool((rise > RISING_ERRORS * error).any())


def arrival(log_posterior: np.ndarray) -> int:
    """The entry of R runs, float64 [R, M], at which the last of them first reaches the median of its second half."""
    level = np.median(log_posterior[:, log_posterior.shape[1] // 2 :], axis=1, keepdims=True)
    return int((log_posterior >= level).argmax(axis=1).max())


@dataclass(frozen=True, eq=False)
class _Elements:
    """What U topologies are made of: numbers int64 [U, K], below `count`; splits first, as in `split_bits`."""

    n_taxa: int
    split_bits: np.ndarray
    numbers: np.ndarray
    count: int

    @classmethod
    def of(cls, topologies: np.ndarray) -> _Elements:
        support = build_support(topologies)
        encoded, n = support.encode(topologies), support.n_taxa
        tripartitions = support.legs.size // 3
        numbers = np.concatenate(
            [
                encoded.splits[:, n:-1],
                encoded.tripartitions[:, n:] + support.n_splits,
                encoded.entries[:, n:-1] + support.n_splits + tripartitions,
            ],
            axis=1,
            dtype=np.int64,
        )
        return cls(n, support.split_bits, numbers, support.n_splits + tripartitions + support.port_child.size)

    def frequencies(self, masses: np.ndarray) -> np.ndarray:
        """Of each element, [B, count], from masses of the topologies [B, U] with positive sums."""
        flat, each = self.numbers.ravel(), self.numbers.shape[1]
        sums = [np.bincount(flat, np.repeat(mass / mass.sum(), each), self.count) for mass in masses]
        return np.stack(sums)

    def asdsf(self, frequencies: np.ndarray) -> float:
        """Of the sets of splits in rows of frequencies; pendant edges are not counted by `of`, so have none."""
        splits = self.split_bits.shape[0]
        return average_standard_deviation(SplitTable(self.n_taxa, self.split_bits, frequencies[:, :splits]))

    def held_by_others(self, masses: np.ndarray, present: np.ndarray) -> float:
        """Share of the mass of a group that is on topologies all of whose elements other groups have, on average.

        masses: float64 [G, U], sums above 0; present: bool [G, U], which topologies each group has.
        """
        seen = np.zeros((present.shape[0], self.count), np.int32)
        for of_group, there in zip(seen, present, strict=True):
            of_group[self.numbers[there]] = 1
        others = seen.sum(axis=0) - seen > 0
        shares = []
        for mass, there, known in zip(masses, present, others, strict=True):
            held = known[self.numbers[there]].all(axis=1)
            shares.append(mass[there][held].sum() / mass.sum())
        return float(np.mean(shares))
