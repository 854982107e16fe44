"""Curvature in the parameters of many parts at once, for where their densities start (parameter_start.py).

To move every parameter by itself takes as many passes over all the data as there are parameters. But the parameters of a part
change the likelihood of its own sites alone: moved in every part at once, and looked at part by part, all are found with as many
passes as the largest part has parameters. Parts then meet in the branch lengths, in the multipliers
and in what they share.

Shapes: H topologies, E edges, G parts, D parameters, of which a part has d, and one for its multiplier.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vbpi_mix.phylo.models.characters import CharacterModel
from vbpi_mix.phylo.models.joint import JointPosterior

# Of parameters on the unconstrained scale, and of log-lengths.
DIFFERENCE, LENGTH_DIFFERENCE = 0.1, 0.01


@dataclass(frozen=True, eq=False)
class Curvature:
    """Of the profile of theta, [D, D], minus the second derivatives, a mean over topologies; and by how much log-lengths grow
    with each parameter, the others held, [H, E, D].
    """

    profile: np.ndarray
    lengths: np.ndarray


def curvature_by_parts(
    posterior: JointPosterior, theta: np.ndarray, children: np.ndarray, x: np.ndarray, precisions: np.ndarray
) -> Curvature:
    """At theta [D] and log-lengths x [H, E] with precisions [H, E] of topologies int32 [H, n-2, 2]."""
    characters = posterior.characters
    multipliers, shares = characters.multipliers(theta[None])[0], characters.multiplier_shares(theta[None])[0]
    ratios = characters.multiplier_places
    # Of each part's log multiplier in the log-ratios, [G, G - 1].
    of_ratios = (np.eye(shares.size) - shares)[:, : ratios.stop - ratios.start]
    second = _of_prior(posterior, theta)
    mixed = np.zeros((*x.shape, theta.size))
    stretch = 0.0
    for g in range(shares.size):
        places = characters.part_parameters(g)
        local, lengths, slope = _of_part(characters, g, children, x + np.log(multipliers[g]), theta[places])
        second[np.ix_(places, places)] += local[:-1, :-1]
        second[places, ratios] += local[:-1, -1:] * of_ratios[g]
        second[ratios, places] += (local[:-1, -1:] * of_ratios[g]).T
        second[ratios, ratios] += local[-1, -1] * np.outer(of_ratios[g], of_ratios[g])
        mixed[:, :, places] += lengths[:, :, :-1]
        mixed[:, :, ratios] += lengths[:, :, -1:] * of_ratios[g]
        stretch += slope
    own = shares[: of_ratios.shape[1]]
    second[ratios, ratios] -= stretch * (np.diag(own) - np.outer(own, own))
    follow = np.linalg.solve(_of_lengths(posterior, theta, children, x, precisions), mixed)
    flat = mixed.reshape(-1, theta.size)
    profile = -second - flat.T @ follow.reshape(flat.shape) / x.shape[0]
    return Curvature(0.5 * (profile + profile.T), follow)


def _of_part(
    characters: CharacterModel, number: int, children: np.ndarray, x: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Second derivatives of a part's log-likelihood, means over topologies, in its parameters and, last, its log multiplier,
    [d + 1, d + 1]; mixed ones with the log-lengths, [H, E, d + 1]; and the slope in the log multiplier, a mean.
    """
    trees, size = children.shape[0], own.size
    # A multiplier stretches all lengths. First the point itself, then both ends of each move.
    steps = DIFFERENCE * np.concatenate([np.zeros((1, size + 1)), np.eye(size + 1), -np.eye(size + 1)])
    lengths = np.exp(x[None] + steps[:, -1, None, None])
    of_lengths, of_own = characters.part_slopes(
        number, np.tile(children, (steps.shape[0], 1, 1)), lengths.reshape(-1, x.shape[1]),
        np.repeat(own + steps[:, :-1], trees, axis=0),
    )  # fmt: skip
    slopes = (of_lengths * lengths.reshape(of_lengths.shape)).reshape(steps.shape[0], trees, -1)
    in_all = np.concatenate([of_own.reshape(*slopes.shape[:2], size), slopes.sum(axis=2, keepdims=True)], axis=2).mean(axis=1)
    ahead, behind = slice(1, size + 2), slice(size + 2, None)
    local = (in_all[ahead] - in_all[behind]) / (2.0 * DIFFERENCE)
    mixed = (slopes[ahead] - slopes[behind]) / (2.0 * DIFFERENCE)
    return 0.5 * (local + local.T), mixed.transpose(1, 2, 0), float(in_all[0, -1])


def _of_lengths(
    posterior: JointPosterior, theta: np.ndarray, children: np.ndarray, x: np.ndarray, precisions: np.ndarray
) -> np.ndarray:
    """Minus the second derivatives in the log-lengths, [H, E, E]; no direction is flatter than the flattest edge."""
    trees, edges = x.shape
    steps = np.concatenate([np.zeros((1, edges)), LENGTH_DIFFERENCE * np.eye(edges)])
    count = trees * (edges + 1)
    moved = (x[None] + steps[:, None]).reshape(count, edges)
    slopes = posterior.length_slopes(np.tile(children, (edges + 1, 1, 1)), moved, np.repeat(theta[None], count, axis=0))
    slopes = slopes.reshape(edges + 1, trees, edges)
    second = ((slopes[0] - slopes[1:]) / LENGTH_DIFFERENCE).transpose(1, 0, 2)
    values, vectors = np.linalg.eigh(0.5 * (second + second.transpose(0, 2, 1)))
    values = np.maximum(values, precisions.min(axis=1, keepdims=True))
    return np.asarray((vectors * values[:, None]) @ vectors.transpose(0, 2, 1))


def _of_prior(posterior: JointPosterior, theta: np.ndarray) -> np.ndarray:
    """Second derivatives [D, D] of the log prior of theta."""
    moves = DIFFERENCE * np.eye(theta.size)
    ahead, behind = (posterior.characters.log_prior(theta + sign * moves)[1] for sign in (1.0, -1.0))
    return np.asarray((ahead - behind) / (2.0 * DIFFERENCE))
