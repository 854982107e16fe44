"""Densities of model parameters: against torch's normal, and their gradients against differences."""

import numpy as np
import pytest
import torch

from vbpi_mix.errors import CheckpointError
from vbpi_mix.phylo.parameters import ParameterDensity, ParameterStart

SIZES, N_SPLITS, A = (3, 1, 2), 5, 3


def make_density(seed=0):
    rng = np.random.default_rng(seed)
    scale = tuple(np.linalg.cholesky(np.cov(rng.normal(size=(d, 10 * d))).reshape(d, d) + 0.2 * np.eye(d)) for d in SIZES)
    start = ParameterStart(rng.normal(size=6), scale, rng.normal(size=(N_SPLITS, 6)) * 0.3)
    density = ParameterDensity(SIZES, N_SPLITS, A, torch.Generator().manual_seed(seed), start)
    with torch.no_grad():
        density.mean += torch.from_numpy(rng.normal(size=density.mean.shape)) * active(density.mean.shape)
        density.factor += torch.from_numpy(rng.normal(size=density.factor.shape) * 0.3)
    # Only what is below the diagonal, within a block, counts.
    with torch.no_grad():
        for g, size in enumerate(SIZES):
            density.factor[:, g, size:] = 0.0
            density.factor[:, g, :, size:] = 0.0
    return density


def active(shape):
    found = torch.zeros(shape, dtype=torch.float64)
    for g, size in enumerate(SIZES):
        found[:, g, :size] = 1.0
    return found


def normals(density):
    """Each component's density of theta, as torch has it, block by block."""
    found = []
    for a in range(A):
        blocks, first = [], 0
        for g, size in enumerate(SIZES):
            raw = density.factor[a, g, :size, :size].detach()
            lower = torch.tril(raw, -1) + torch.diag(torch.diagonal(raw).exp())
            scale = torch.from_numpy(density.scale[g, :size, :size])
            mean = torch.from_numpy(density.centre[first : first + size]) + scale @ density.mean[a, g, :size].detach()
            root = scale @ lower
            blocks.append((slice(first, first + size), torch.distributions.MultivariateNormal(mean, root @ root.T)))
            first += size
        found.append(blocks)
    return found


def test_densities_are_those_of_normals():
    density = make_density()
    component, evaluated = np.array([0, 2, 2, 1]), np.array([2, 0, 1])
    noise = density.noise(4, torch.Generator().manual_seed(1))
    done = density.sample(component, evaluated, noise)
    theta = torch.from_numpy(done.theta)
    expected = torch.stack(
        [sum(normal.log_prob(theta[:, where]) for where, normal in normals(density)[a]) for a in evaluated], dim=1
    )
    np.testing.assert_allclose(done.log_q, expected.numpy(), rtol=1e-11)


def test_a_large_block_is_learned_in_pieces(monkeypatch):
    """Its density is a normal whose covariance is that of the start but for what the pieces have learned."""
    monkeypatch.setattr("vbpi_mix.phylo.parameters.LARGEST_BLOCK", 2)
    monkeypatch.setattr("vbpi_mix.phylo.parameters.PIECE", 2)
    rng = np.random.default_rng(5)
    scale = np.linalg.cholesky(np.cov(rng.normal(size=(3, 30))))
    start = ParameterStart(rng.normal(size=5), (scale, np.array([[0.7, 0.0], [0.2, 0.4]])), rng.normal(size=(N_SPLITS, 5)))
    density = ParameterDensity((3, 2), N_SPLITS, 1, torch.Generator().manual_seed(2), start)
    assert density.mean.shape == (1, 3, 2)
    with torch.no_grad():
        density.factor[0, 0] += torch.tensor([[0.1, 0.0], [0.5, -0.2]], dtype=torch.float64)
        density.factor[0, 1, 0, 0] += 0.3
    lower = np.zeros((3, 3))
    lower[:2, :2], lower[2, 2] = [[np.exp(0.1), 0.0], [0.5, np.exp(-0.2)]], np.exp(0.3)
    noise = density.noise(4, torch.Generator().manual_seed(1))
    done = density.sample(np.zeros(4, dtype=int), np.array([0]), noise)
    roots = torch.block_diag(torch.from_numpy(scale @ lower), torch.from_numpy(start.scale[1]))
    z = density.mean.detach().reshape(-1)[[0, 1, 2, 4, 5]]
    first = torch.block_diag(torch.from_numpy(scale), torch.from_numpy(start.scale[1]))
    normal = torch.distributions.MultivariateNormal(torch.from_numpy(start.centre) + first @ z, roots @ roots.T)
    np.testing.assert_allclose(done.log_q[:, 0], normal.log_prob(torch.from_numpy(done.theta)).numpy(), rtol=1e-11)
    splits, of_theta, of_lengths = rng.integers(0, N_SPLITS, (4, 3)), rng.normal(size=(4, 5)), rng.normal(size=(4, 3))
    gradients = density.pull_back(done, splits, of_theta, of_lengths, np.ones((4, 1)))

    def value():
        new = density.sample(np.zeros(4, dtype=int), np.array([0]), noise)
        return (new.theta * of_theta).sum() + (density.shift(new, splits) * of_lengths).sum() + new.log_q.sum()

    for learned, at in ((density.mean, (0, 0, 1)), (density.mean, (0, 1, 0)), (density.factor, (0, 0, 1, 0))):
        with torch.no_grad():
            learned[at] += 1e-5
            above = value()
            learned[at] -= 2e-5
            difference = (above - value()) / 2e-5
            learned[at] += 1e-5
        assert float(gradients[learned][at]) == pytest.approx(difference, rel=1e-6)
    other = ParameterDensity((3, 2), N_SPLITS, 1, torch.Generator().manual_seed(3))
    other.load_state_dict(density.state_dict())
    again, loaded = (each.sample(np.zeros(4, dtype=int), np.array([0]), noise).theta for each in (density, other))
    np.testing.assert_array_equal(loaded, again)


def test_draws_have_the_moments_of_their_component():
    density = make_density()
    count = 200_000
    done = density.sample(np.ones(count, dtype=int), np.array([1]), density.noise(count, torch.Generator().manual_seed(2)))
    for where, normal in normals(density)[1]:
        drawn = done.theta[:, where]
        sd = normal.covariance_matrix.diagonal().sqrt().numpy()
        assert np.all(abs(drawn.mean(axis=0) - normal.mean.numpy()) < 5 * sd / np.sqrt(count))
        np.testing.assert_allclose(np.cov(drawn.T).reshape(sd.size, -1), normal.covariance_matrix, atol=0.02 * sd.max() ** 2)


def test_gradients_are_differences():
    density, rng = make_density(), np.random.default_rng(3)
    component, evaluated = np.array([0, 2, 2, 1, 0]), np.array([2, 0])
    noise = density.noise(5, torch.Generator().manual_seed(1))
    splits = rng.integers(0, N_SPLITS, (5, 4))
    of_theta, of_lengths, of_log_q = rng.normal(size=(5, 6)), rng.normal(size=(5, 4)), rng.normal(size=(5, 2))

    def value():
        done = density.sample(component, evaluated, noise)
        shifts = density.shift(done, splits)
        return (done.theta * of_theta).sum() + (shifts * of_lengths).sum() + (done.log_q * of_log_q).sum()

    gradients = density.pull_back(density.sample(component, evaluated, noise), splits, of_theta, of_lengths, of_log_q)
    for learned in density.learned():
        flat, found = learned.data.view(-1), gradients[learned].reshape(-1)
        for k in range(flat.numel()):
            before = float(flat[k])
            flat[k] = before + 1e-5
            above = value()
            flat[k] = before - 1e-5
            difference = (above - value()) / 2e-5
            flat[k] = before
            if k in np.flatnonzero(counted(learned)):
                assert float(found[k]) == pytest.approx(difference, rel=1e-6, abs=1e-7)
            else:
                assert float(found[k]) == 0.0


def counted(learned):
    """What is learned: not the padding, nor what is above a diagonal."""
    one = active(learned.shape[:3]).numpy()
    if learned.ndim == 3:
        return one.ravel()
    return np.tril(one[..., None] * one[:, :, None, :]).ravel()


def test_lengths_follow_by_split():
    density = make_density()
    done = density.sample(np.zeros(2, dtype=int), np.array([0]), density.noise(2, torch.Generator().manual_seed(1)))
    parts = zip(density.scale, SIZES, cut(done.theta[0] - density.centre), strict=True)
    blocks = [np.linalg.solve(scale[:d, :d], part) for scale, d, part in parts]
    expected = density.drift[[4, 4, 0]] @ np.concatenate(blocks)
    np.testing.assert_allclose(density.shift(done, np.array([[4, 4, 0], [1, 1, 1]]))[0], expected, rtol=1e-10)


def cut(theta):
    return np.split(theta, np.cumsum(SIZES)[:-1])


def test_state_goes_round_and_another_is_refused():
    density, other = make_density(0), make_density(1)
    other.load_state_dict(density.state_dict())
    noise = density.noise(3, torch.Generator().manual_seed(1))
    found = [each.sample(np.zeros(3, dtype=int), np.arange(A), noise) for each in (density, other)]
    np.testing.assert_array_equal(found[0].theta, found[1].theta)
    np.testing.assert_array_equal(found[0].log_q, found[1].log_q)
    fewer = ParameterDensity((3, 1), N_SPLITS, A, torch.Generator())
    with pytest.raises(CheckpointError, match="another model"):
        fewer.load_state_dict(density.state_dict())
