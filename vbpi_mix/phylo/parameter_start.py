"""Where model parameters start: the mode of the posterior on a few topologies, its curvature, and how lengths follow.

theta and the log-lengths of a few probable topologies are raised together by L-BFGS. Then theta is moved along each
direction, the lengths find their best values anew, and what is left of the slope in theta is the curvature of the profile:
its inverse is the covariance that theta starts with, and how the lengths moved is the drift (parameters.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from vbpi_mix.phylo.approximation import climb, precisions
from vbpi_mix.phylo.models.joint import JointPosterior
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.parameters import ParameterStart
from vbpi_mix.phylo.part_curvature import curvature_by_parts
from vbpi_mix.phylo.sbn.support import SubsplitSupport

TOPOLOGIES = 8
# Where as many are equally frequent, the best of so many.
MOST_SCORED = 200
ITERATIONS = 100
# Of theta at first, then of each whitened direction.
FIRST_DIFFERENCE, DIFFERENCE = 0.02, 0.5
# With more parameters they are moved in all parts at once.
MOST_MOVED = 40
# Of the log-lengths after theta has moved.
REFITTING_STEPS, LARGEST_STEP = 12, 0.3
# No direction of theta is taken to be known less well, or better, than this (standard deviations).
WIDEST, NARROWEST = 3.0, 1e-3


@dataclass(frozen=True, eq=False)
class ParameterMode:
    """theta [D]; H topologies int32 [H, n-2, 2] with log-lengths [H, E] and precisions [H, E] there, on which it was found."""

    theta: np.ndarray
    children: np.ndarray
    log_lengths: np.ndarray
    precisions: np.ndarray


def probable_topologies(held: Posterior, children: np.ndarray, weights: np.ndarray, effort: float = 1.0) -> np.ndarray:
    """Numbers of TOPOLOGIES of the topologies int32 [U, n-2, 2]: the most frequent by weights [U], or those of the highest
    posterior where frequencies do not tell them apart, as those of a list of distinct trees. effort: of the usual number
    that is then looked at, the share that is.
    """
    order = np.argsort(-weights, kind="stable")
    if order.size <= TOPOLOGIES or weights[order[TOPOLOGIES - 1]] > weights[order[TOPOLOGIES]]:
        return order[:TOPOLOGIES]
    scored = order[: max(2 * TOPOLOGIES, int(MOST_SCORED * effort))]
    worth = held.log_joint(children[scored], climb(children[scored], held))
    return scored[np.argsort(-worth, kind="stable")[:TOPOLOGIES]]


def find_mode(
    posterior: JointPosterior, children: np.ndarray, rng: np.random.Generator, theta: np.ndarray | None = None
) -> ParameterMode:
    """The mode of theta and of the log-lengths of topologies int32 [H, n-2, 2] together, from theta [D] on."""
    first = posterior.characters.start() if theta is None else theta
    held = posterior.at(first)
    x = climb(children, held)
    trees = x.shape[0]
    point = torch.from_numpy(np.concatenate([x.ravel(), first])).requires_grad_()
    optimiser = torch.optim.LBFGS([point], max_iter=ITERATIONS, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        values = point.detach().numpy()
        own = values[x.size :]
        value, of_lengths, of_theta = posterior.joint_slopes(
            children, values[: x.size].reshape(x.shape), np.broadcast_to(own, (trees, own.size)).copy()
        )
        # A mean over topologies, so that theta weighs the data once whatever their number.
        point.grad = torch.from_numpy(-np.concatenate([of_lengths.ravel(), of_theta.sum(axis=0)]) / trees)
        return torch.tensor(-value.mean(), dtype=torch.float64)

    optimiser.step(loss)
    found = point.detach().numpy()
    modes, best = found[: x.size].reshape(x.shape).copy(), found[x.size :].copy()
    return ParameterMode(best, children, modes, precisions(children, modes, posterior.at(best), rng))


def parameter_start(posterior: JointPosterior, mode: ParameterMode, support: SubsplitSupport) -> ParameterStart:
    """Centre, covariance by blocks and drift; the topologies of the mode must be in the support."""
    size, sizes = posterior.characters.size, posterior.characters.blocks
    if size > MOST_MOVED:
        found = curvature_by_parts(posterior, mode.theta, mode.children, mode.log_lengths, mode.precisions)
        covariance, of_theta = _covariance(-found.profile, np.eye(size)), found.lengths
    else:
        covariance, of_theta = _by_moving_each(posterior, mode)
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    scale = tuple(
        np.linalg.cholesky(covariance[a:b, a:b]) for a, b in pairwise(bounds)
    )
    of_z = np.concatenate(
        [of_theta[:, :, a:b] @ block for a, b, block in zip(bounds[:-1], bounds[1:], scale, strict=True)], axis=2
    )
    return ParameterStart(mode.theta, scale, _by_split(of_z, mode, support))


def _by_moving_each(posterior: JointPosterior, mode: ParameterMode) -> tuple[np.ndarray, np.ndarray]:
    """The covariance of theta [D, D], and how the lengths move with theta, [H, E, D]."""
    size = posterior.characters.size
    rough = _covariance(_curvature(posterior, mode, FIRST_DIFFERENCE * np.eye(size))[0], np.eye(size) * FIRST_DIFFERENCE)
    directions = np.linalg.cholesky(rough)
    curvature, moved = _curvature(posterior, mode, DIFFERENCE * directions)
    covariance = _covariance(curvature, DIFFERENCE * directions)
    of_theta = np.linalg.solve((DIFFERENCE * directions).T, moved.transpose(0, 2, 1).reshape(-1, size).T).T
    return covariance, of_theta.reshape(moved.shape[0], moved.shape[2], size)


def _curvature(posterior: JointPosterior, mode: ParameterMode, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half the difference of slopes in theta between both ends of each step (a column of [D, D]), lengths refitted, mean
    over topologies: [D, D], slope by step; and half the difference of the log-lengths, [H, D, E].
    """
    size, trees = steps.shape[0], mode.children.shape[0]
    ends = np.concatenate([mode.theta + steps.T, mode.theta - steps.T])
    theta = np.repeat(ends, trees, axis=0)
    children = np.tile(mode.children, (2 * size, 1, 1))
    x, shape = np.tile(mode.log_lengths, (2 * size, 1)), np.tile(mode.precisions, (2 * size, 1))
    for _ in range(REFITTING_STEPS):
        x += np.clip(posterior.length_slopes(children, x, theta) / shape, -LARGEST_STEP, LARGEST_STEP)
    _, _, of_theta = posterior.joint_slopes(children, x, theta)
    slopes = of_theta.reshape(2, size, trees, size).mean(axis=2)
    lengths = x.reshape(2, size, trees, -1)
    return 0.5 * (slopes[0] - slopes[1]).T, 0.5 * (lengths[0] - lengths[1]).transpose(1, 0, 2)


def _covariance(slopes: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Minus the inverse of the curvature, slopes = curvature steps, made symmetric and kept within what is credible."""
    curvature = -np.linalg.solve(steps.T, slopes.T).T
    values, vectors = np.linalg.eigh(0.5 * (curvature + curvature.T))
    variances = 1.0 / np.clip(values, WIDEST**-2, NARROWEST**-2)
    return np.asarray((vectors * variances) @ vectors.T)


def _by_split(drift: np.ndarray, mode: ParameterMode, support: SubsplitSupport) -> np.ndarray:
    """Drift [H, E, D] of edges as means over those with the same split, [n_splits, D]; of other splits the mean of all."""
    splits = support.encode(mode.children).rows[:, :, 0].ravel()
    flat = drift.reshape(splits.size, -1)
    table = np.broadcast_to(flat.mean(axis=0), (support.n_splits, flat.shape[1])).copy()
    count = np.bincount(splits, minlength=support.n_splits)
    sums = np.zeros_like(table)
    np.add.at(sums, splits, flat)
    met = count > 0
    table[met] = sums[met] / count[met, None]
    return table
