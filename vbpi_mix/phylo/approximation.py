"""Gamma approximations of the posterior of branch lengths, topology by topology, and the marginal likelihoods they give.

Given a topology, the posterior of the branch lengths is approximated by independent gammas with the mode and the curvature
that it has in log-lengths. Substitutions along an edge are nearly Poisson and the prior is exponential, so that a gamma is
what a length's posterior nearly is, down to the edges of length zero, where a log-normal has too short a tail. As importance
densities the gammas estimate the topology's marginal likelihood: half of their draws count.

Fourment et al. (2020), "19 dubious ways to compute the marginal likelihood of a phylogenetic tree topology", compare such
approximations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from vbpi_mix.phylo.models.posterior import Posterior

# Resilient propagation (Riedmiller and Braun 1993): per-coordinate steps that grow while the slope keeps its sign.
CLIMBING_STEPS = 40
NEWTON_STEPS = 5
START = -3.0
FIRST_STEP, LARGEST_STEP = 0.3, 1.0
DIFFERENCE = 1e-3
PROBES = 10
# Of an edge along which nothing changed: the likelihood is bounded at length zero, and the posterior exponential.
LEAST_SHAPE = 1.0
DRAWS = 50
# How often weights are cut anew; each time an excess is down to 1 / sqrt(draws) of what it was.
TRUNCATIONS = 8
# Trees that are evaluated at once: their arrays stay in cache.
AT_ONCE = 4_000


@dataclass(frozen=True, eq=False)
class GammaApproximations:
    """Of T topologies: mode of each log-length and shape of each length, [T, E], and the log marginal likelihoods, [T].

    A length has density proportional to b^(shape - 1) exp(-shape b / exp(mode)).
    """

    mode: np.ndarray
    shape: np.ndarray
    log_marginal: np.ndarray

    def take(self, which: np.ndarray | slice) -> GammaApproximations:
        """Some of them, by their numbers."""
        return GammaApproximations(self.mode[which], self.shape[which], self.log_marginal[which])

    def joined(self, others: GammaApproximations) -> GammaApproximations:
        """These, and then the others."""
        return GammaApproximations(
            np.concatenate([self.mode, others.mode]),
            np.concatenate([self.shape, others.shape]),
            np.concatenate([self.log_marginal, others.log_marginal]),
        )


def approximate(
    children: np.ndarray,
    posterior: Posterior,
    rng: np.random.Generator,
    mode: np.ndarray | None = None,
    shape: np.ndarray | None = None,
) -> GammaApproximations:
    """Gamma approximations of the posterior of the branch lengths of topologies int32 [T, n-2, 2].

    mode, shape: [T, E], guesses to start from.
    """
    if mode is None or shape is None:
        mode = climb(children, posterior)
        shape = precisions(children, mode, posterior, rng)
    mode = mode.copy()
    for _ in range(NEWTON_STEPS):
        slope = posterior.log_joint_slopes(children, mode)
        mode += np.clip(slope / shape, -FIRST_STEP, FIRST_STEP)
    # In log-lengths the curvature of a gamma at its mode is its shape.
    shape = precisions(children, mode, posterior, rng)
    log_w = _log_weights(children, mode, shape, posterior, rng, DRAWS)
    which = np.tile(np.arange(shape.shape[0]), DRAWS)
    return GammaApproximations(mode, shape, _log_means(log_w.ravel(), which, shape.shape[0]))


def refine(
    children: np.ndarray, found: GammaApproximations, posterior: Posterior, rng: np.random.Generator, draws: int
) -> GammaApproximations:
    """The same with about `draws` more draws, shared out in proportion to the marginal likelihoods found so far.

    What is probable is then known about as well as anything that a split frequency sums over: the error of a topology
    with probability p is that of p * draws draws, half of which count.
    """
    shares = np.exp(found.log_marginal - np.logaddexp.reduce(found.log_marginal))
    more = np.rint(draws * shares).astype(np.int64)
    which = np.repeat(np.arange(shares.size), more)
    log_gamma = torch.lgamma(torch.from_numpy(found.shape)).numpy()
    log_w = np.empty(which.size)
    for first in range(0, which.size, AT_ONCE):
        part = which[first : first + AT_ONCE]
        log_w[first : first + AT_ONCE] = _draw_log_weights(
            children[part], found.mode[part], found.shape[part], log_gamma[part], posterior, rng
        )
    with np.errstate(divide="ignore"):
        new, known = np.log(more) + _log_means(log_w, which, shares.size), np.log(DRAWS) + found.log_marginal
    return GammaApproximations(found.mode, found.shape, np.logaddexp(new, known) - np.log(more + DRAWS))


def _log_means(log_w: np.ndarray, which: np.ndarray, count: int) -> np.ndarray:
    """Logarithms of the mean weights [T] of T = `count` topologies; log_w float64 [N], which int [N] is that of each draw.

    Weights above sqrt(draws) times the mean are cut to it (Ionides 2008, "Truncated importance sampling"), and the mean is
    taken anew until next to nothing changes. The posterior of an edge of almost no length has a longer tail than any gamma
    with a mode above: one draw in thousands may weigh more than a thousand others, and without this be taken for mass.
    """
    largest = np.full(count, -np.inf)
    np.maximum.at(largest, which, log_w)
    largest[largest == -np.inf] = 0.0
    weights = np.exp(log_w - largest[which])
    draws = np.maximum(np.bincount(which, minlength=count), 1)
    for _ in range(TRUNCATIONS):
        mean = np.bincount(which, weights, count) / draws
        weights = np.minimum(weights, (np.sqrt(draws) * mean)[which])
    with np.errstate(divide="ignore"):
        return np.asarray(largest + np.log(np.bincount(which, weights, count) / draws))


def _log_weights(
    children: np.ndarray, mode: np.ndarray, shape: np.ndarray, posterior: Posterior, rng: np.random.Generator, draws: int
) -> np.ndarray:
    """Log importance weights [draws, T] of draws from the gammas of each topology."""
    log_w = np.empty((draws, shape.shape[0]))
    log_gamma = torch.lgamma(torch.from_numpy(shape)).numpy()
    for row in log_w:
        row[:] = _draw_log_weights(children, mode, shape, log_gamma, posterior, rng)
    return log_w


def _draw_log_weights(
    children: np.ndarray,
    mode: np.ndarray,
    shape: np.ndarray,
    log_gamma: np.ndarray,
    posterior: Posterior,
    rng: np.random.Generator,
) -> np.ndarray:
    """Log importance weight [T] of one draw from the gammas of each of T trees; log_gamma is of their shapes [T, E]."""
    unit = rng.standard_gamma(shape)
    log_q = (shape * np.log(unit) - unit - log_gamma).sum(1)
    return posterior.log_joint(children, np.log(unit / shape) + mode) - log_q


def climb(children: np.ndarray, posterior: Posterior) -> np.ndarray:
    """Near the modes [T, E] of the log-lengths."""
    edges = 2 * children.shape[1] + 1
    x = np.full((children.shape[0], edges), START)
    step = np.full_like(x, FIRST_STEP)
    before = np.zeros_like(x)
    for _ in range(CLIMBING_STEPS):
        sign = np.sign(posterior.log_joint_slopes(children, x))
        step = np.clip(np.where(sign * before < 0, 0.5, 1.2) * step, 0.0, LARGEST_STEP)
        x += sign * step
        before = sign
    return x


def precisions(children: np.ndarray, x: np.ndarray, posterior: Posterior, rng: np.random.Generator) -> np.ndarray:
    """Minus the second derivatives [T, E] along each log-length, at least LEAST_SHAPE, or less where the prior has less.

    Means of v * (slope difference along v) over random signs v (Bekas, Kokiopoulou and Saad 2007), which needs no
    evaluation for each edge: distant edges hardly interact, and what neighbours add averages out.
    """
    here = posterior.log_joint_slopes(children, x)
    found = np.zeros_like(x)
    for _ in range(PROBES):
        signs = rng.choice([-1.0, 1.0], size=x.shape)
        there = posterior.log_joint_slopes(children, x + DIFFERENCE * signs)
        found += signs * (here - there) / (DIFFERENCE * PROBES)
    # A prior under which lengths near zero are likelier has a longer tail there.
    return np.maximum(found, np.minimum(LEAST_SHAPE, posterior.branch_prior.concentrations(x.shape[1])))


def laplace(
    children: np.ndarray, mode: np.ndarray, shape: np.ndarray, posterior: Posterior, steps: int = NEWTON_STEPS
) -> tuple[np.ndarray, np.ndarray]:
    """Log marginal likelihoods [T], roughly, and better modes [T, E], from guesses of modes and shapes [T, E].

    A few Newton steps with the guessed curvatures, then the integral of gammas of these shapes that are as high as the
    posterior at the modes. Good to a nat or so, at a tenth of what `approximate` costs: enough to leave out what does not
    matter.
    """
    mode = mode.copy()
    for _ in range(steps):
        mode += np.clip(posterior.log_joint_slopes(children, mode) / shape, -FIRST_STEP, FIRST_STEP)
    log_gamma = torch.lgamma(torch.from_numpy(shape)).numpy()
    return posterior.log_joint(children, mode) + (log_gamma + shape - shape * np.log(shape)).sum(1), mode
