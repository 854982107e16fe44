"""The variational density of model parameters, and how branch lengths follow them.

A component's density of theta, all D free parameters of a model on an unconstrained scale, is a normal: with a full
covariance within a block (the parameters of one part of the data, whose rates and frequencies correlate strongly), blocks
independent. What is learned lives in whitened coordinates z, theta = centre + scale z, in which the start is a standard
normal for every component. Of a large block (rate multipliers of a hundred parts, rates of twenty states) only the start has the
full covariance: what is learned of z is in pieces, each with a covariance of its own.

Branch lengths depend on theta: under a smaller alpha all long branches are longer. An edge's log-length is therefore what
the base density and the flow draw, plus drift . z with a row of coefficients for the edge's split. The drift is shared by
the components, as a flow is, and its Jacobian is one.

Shapes: A components, S K = T trees, R components evaluated, G blocks of at most m parameters each. Blocks are padded to m.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.errors import CheckpointError

# Spread of the components' first means, in standard deviations of the start: enough to tell them apart.
FIRST_SPREAD = 0.1
# Larger blocks than this are learned in pieces, of this size unless there are larger blocks that are whole.
LARGEST_BLOCK, PIECE = 32, 8


@dataclass(frozen=True, eq=False)
class ParameterStart:
    """Where densities begin. centre [D]; scale: of each block a matrix [d, d], whose product with its transpose is the
    covariance; drift [n_splits, D], by how much the log-length of an edge with a split grows with each z.
    """

    centre: np.ndarray
    scale: tuple[np.ndarray, ...]
    drift: np.ndarray

    @staticmethod
    def unit(sizes: Sequence[int], n_splits: int) -> ParameterStart:
        """Standard normals, and lengths that do not depend on them."""
        return ParameterStart(
            np.zeros(sum(sizes)), tuple(np.eye(size) for size in sizes), np.zeros((n_splits, sum(sizes)))
        )


@dataclass(frozen=True, eq=False)
class ParameterPass:
    """Of T draws: theta [T, D], z and noise padded [T, G, m], log densities under the evaluated components [T, R], and with
    which means and factors these were found.
    """

    theta: np.ndarray
    z: np.ndarray
    noise: np.ndarray
    log_q: np.ndarray
    mean: np.ndarray
    factor: np.ndarray
    evaluated: np.ndarray
    component: np.ndarray
    residual: np.ndarray
    inverse: np.ndarray


class ParameterDensity:
    """Densities of A components. Learned: mean float64 [A, G, m] and factor float64 [A, G, m, m], lower triangular with the
    logarithms of its diagonal, both in whitened coordinates.
    """

    def __init__(
        self, sizes: Sequence[int], n_splits: int, n_components: int, generator: torch.Generator,
        start: ParameterStart | None = None,
    ) -> None:
        """sizes: number of parameters of each block, none of them zero. start: None, to be loaded later."""
        begin = start or ParameterStart.unit(sizes, n_splits)
        pieces = _pieces(sizes)
        sizes = [size for own in pieces for size in own]
        largest = max(sizes)
        self.size = int(sum(sizes))
        # Place of each parameter among the padded ones.
        self._place = np.concatenate([g * largest + np.arange(size) for g, size in enumerate(sizes)])
        self._shape = (len(sizes), largest)
        self._lower = torch.from_numpy(np.tril(np.ones((largest, largest))))
        self.centre = begin.centre.copy()
        self.scale = np.broadcast_to(np.eye(largest), (len(sizes), largest, largest)).copy()
        # Of blocks that are learned in pieces: where they are in theta, and their scale as a whole.
        self._whole: list[tuple[slice, np.ndarray]] = []
        end, g = 0, 0
        for own, block in zip(pieces, begin.scale, strict=True):
            end += sum(own)
            if len(own) > 1:
                self._whole.append((slice(end - sum(own), end), np.array(block, order="C")))
            else:
                self.scale[g, : own[0], : own[0]] = block
            g += len(own)
        self.drift = begin.drift.copy()
        mean = torch.randn(n_components, self.size, generator=generator, dtype=torch.float64) * FIRST_SPREAD
        padded = np.zeros((n_components, math.prod(self._shape)))
        padded[:, self._place] = mean.numpy()
        self.mean = torch.from_numpy(padded.reshape(n_components, *self._shape)).requires_grad_()
        self.factor = torch.zeros(n_components, *self._shape, largest, dtype=torch.float64).requires_grad_()
        self._active = np.zeros(math.prod(self._shape))
        self._active[self._place] = 1.0

    def noise(self, trees: int, generator: torch.Generator) -> np.ndarray:
        """Standard normals [T, D], in an order that does not depend on threads."""
        return torch.randn(trees, self.size, generator=generator, dtype=torch.float64).numpy()

    def sample(self, component: np.ndarray, evaluated: np.ndarray, noise: np.ndarray) -> ParameterPass:
        """theta of components int64 [T] from noise [T, D], with their densities under `evaluated` int64 [R]."""
        trees = noise.shape[0]
        padded = np.zeros((trees, math.prod(self._shape)))
        padded[:, self._place] = noise
        eps = padded.reshape(trees, *self._shape)
        mean, factor = self.mean.detach().numpy(), self._factors()
        z = mean[component] + np.einsum("tgij,tgj->tgi", factor[component], eps)
        inverse = np.linalg.inv(factor[evaluated])
        residual = np.einsum("rgij,trgj->trgi", inverse, z[:, None] - mean[evaluated])
        log_det = np.log(np.diagonal(factor[evaluated], axis1=2, axis2=3)).sum(axis=(1, 2))
        constant = 0.5 * self.size * math.log(2.0 * math.pi) + self._log_det_scale()
        log_q = -0.5 * np.einsum("trgi,trgi->tr", residual, residual) - log_det - constant
        scaled = np.einsum("gij,tgj->tgi", self.scale, z).reshape(trees, -1)[:, self._place]
        for where, scale in self._whole:
            scaled[:, where] = scaled[:, where] @ scale.T
        theta = self.centre + scaled
        return ParameterPass(theta, z, eps, log_q, mean, factor, evaluated, component, residual, inverse)

    def shift(self, done: ParameterPass, splits: np.ndarray) -> np.ndarray:
        """What is added to the log-lengths [T, E] of edges with splits int [T, E]."""
        z = done.z.reshape(done.z.shape[0], -1)[:, self._place]
        return np.asarray(np.einsum("ted,td->te", self.drift[splits], z))

    def pull_back(
        self, done: ParameterPass, splits: np.ndarray, theta: np.ndarray, log_lengths: np.ndarray, log_q: np.ndarray
    ) -> dict[Tensor, Tensor]:
        """Gradients of mean and factor from those with respect to theta [T, D], the log-lengths [T, E] and log_q [T, R]."""
        trees = theta.shape[0]
        of_z = np.zeros((trees, math.prod(self._shape)))
        for where, scale in self._whole:
            theta = np.concatenate([theta[:, : where.start], theta[:, where] @ scale, theta[:, where.stop :]], axis=1)
        of_z[:, self._place] = theta
        of_z = np.einsum("gij,tgi->tgj", self.scale, of_z.reshape(done.z.shape))
        flat = of_z.reshape(trees, -1)
        flat[:, self._place] += np.einsum("ted,te->td", self.drift[splits], log_lengths)
        # Of log N(z; m, L L'): in z it is -L^-T r, in m the opposite, in L L^-T r r' less the inverse's diagonal.
        back = np.einsum("rgij,trgi->trgj", done.inverse, done.residual)
        weighted = log_q[:, :, None, None] * back
        of_z = of_z - weighted.sum(axis=1)
        mean, factor = np.zeros_like(done.mean), np.zeros_like(done.factor)
        mean[done.evaluated] += weighted.sum(axis=0)
        own = np.einsum("trgi,trgj->rgij", weighted, done.residual)
        own -= log_q.sum(axis=0)[:, None, None, None] * np.swapaxes(done.inverse, 2, 3)
        factor[done.evaluated] += own
        np.add.at(mean, done.component, of_z)
        np.add.at(factor, done.component, of_z[:, :, :, None] * done.noise[:, :, None, :])
        return {self.mean: torch.from_numpy(mean * self._active.reshape(self._shape)), self.factor: self._of_logs(factor, done)}

    def _factors(self) -> np.ndarray:
        """Lower triangular [A, G, m, m]."""
        raw = self.factor.detach()
        diagonal = torch.diag_embed(torch.diagonal(raw, dim1=2, dim2=3).exp())
        made: np.ndarray = (torch.tril(raw, -1) + diagonal).numpy()
        return made

    def _of_logs(self, factor: np.ndarray, done: ParameterPass) -> Tensor:
        """The gradient of what is learned from that of the factors."""
        lower = torch.from_numpy(factor) * self._lower
        diagonal = torch.diagonal(lower, dim1=2, dim2=3)
        diagonal *= torch.from_numpy(np.diagonal(done.factor, axis1=2, axis2=3).copy())
        active = torch.from_numpy(self._active.reshape(self._shape))
        return lower * active[:, :, None] * active[:, None, :]

    def _log_det_scale(self) -> float:
        return float(np.linalg.slogdet(self.scale)[1].sum()) + sum(float(np.linalg.slogdet(whole)[1]) for _, whole in self._whole)

    def learned(self) -> tuple[Tensor, ...]:
        """What is learned."""
        return (self.mean, self.factor)

    def state_dict(self) -> dict[str, Tensor]:
        """What is learned, and where it began."""
        return {
            "mean": self.mean.detach(), "factor": self.factor.detach(), "centre": torch.from_numpy(self.centre),
            "scale": torch.from_numpy(self.scale), "drift": torch.from_numpy(self.drift),
            **{f"scale {where.start}": torch.from_numpy(whole) for where, whole in self._whole},
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the state of densities of as many parameters, components and splits; CheckpointError otherwise."""
        own = self.state_dict()
        if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in state.items()}:
            raise CheckpointError("the model parameters of the checkpoint are of another model, support or number of components")
        with torch.no_grad():
            self.mean.copy_(state["mean"])
            self.factor.copy_(state["factor"])
        for name in ("centre", "scale", "drift"):
            getattr(self, name)[:] = state[name].numpy()
        for where, whole in self._whole:
            whole[:] = state[f"scale {where.start}"].numpy()


def _pieces(blocks: Sequence[int]) -> list[list[int]]:
    """Of each block the sizes of what has a covariance of its own: the block, or pieces of one that is too large."""
    piece = max([PIECE, *(size for size in blocks if size <= LARGEST_BLOCK)])
    found = []
    for size in blocks:
        count = 1 if size <= LARGEST_BLOCK else -(-size // piece)
        found.append([size // count + (k < size % count) for k in range(count)])
    return found
