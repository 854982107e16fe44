"""The gamma base of branch lengths against scipy, mpmath and finite differences."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from reference import gamma_density as twin
from scipy import integrate, special, stats

from vbpi_mix.phylo.branches.kernels import gamma, gamma_function
from vbpi_mix.phylo.branches.kernels.gamma_function import HIGH_LOG_SHAPE, LOW_LOG_SHAPE, gamma_tables

SHAPES = (0.0501, 0.3, 0.9, 1.0, 2.5, 14.0, 63.9, 64.1, 1e3, 1e5, 3e6)
NOISE = (-8.2, -6.0, -3.1, -1.0, -0.2, 0.0, 0.3, 1.7, 4.2, 6.5, 8.2)


def log_gamma_draw(shape, noise):
    return gamma_function.log_gamma_draw(gamma_tables(), shape**-0.5, noise, np.empty(8))


@pytest.mark.parametrize("shape", SHAPES)
def test_draws_are_quantiles_far_into_both_tails(shape):
    for noise in NOISE if shape < 1e5 else NOISE[1::4]:
        w, _ = log_gamma_draw(shape, noise)
        bound = 3e-10 if shape >= 0.3 and abs(noise) < 7.0 else 1e-8
        assert twin.smaller_tail_error(shape, w, noise) < bound, noise


def test_draws_between_the_patches_are_those_computed_directly():
    rng = np.random.default_rng(3)
    for _ in range(3000):
        scale, noise = np.exp(rng.uniform(-5.0, np.log(4.47))), rng.uniform(-9.0, 9.0)
        found, _ = gamma_function.displacement(gamma_tables().displacement, scale, noise, np.empty(8))
        error = scale * (found - gamma_function.exact_displacement(scale, noise))
        assert abs(error) * max(1.0, abs(noise)) < (2e-9 if scale < 1.83 else 1e-8)


@pytest.mark.parametrize("shape", SHAPES)
def test_slopes_of_draws_are_those_of_implicit_reparameterisation(shape):
    for noise in (-7.0, -3.4, -0.9, 0.0, 0.45, 2.2, 7.0) if shape < 1e5 else (-2.2, 0.45):
        w, slope = log_gamma_draw(shape, noise)
        assert slope + 1.0 == pytest.approx(twin.log_gamma_slope(shape, w), rel=1e-6), noise


def test_slopes_of_draws_are_those_of_torch():
    """torch's approximation differs from the exact derivative by up to 1.4e-4 here."""
    for shape in (0.3, 1.0, 5.0, 50.0, 1e3):
        for noise in (-2.0, -0.5, 0.0, 1.0, 2.5):
            w, slope = log_gamma_draw(shape, noise)
            g = shape * np.exp(w)
            found = torch._standard_gamma_grad(torch.tensor(shape).double(), torch.tensor(g).double()).item()
            assert (slope + 1.0) * g / shape == pytest.approx(found, rel=3e-4)


def test_remainder_of_stirlings_formula():
    for log_shape in np.linspace(LOW_LOG_SHAPE, HIGH_LOG_SHAPE, 997):
        shape = np.exp(log_shape)
        value, slope = gamma_function.correction(gamma_tables().correction, log_shape)
        half_log = 0.5 * np.log(2.0 * np.pi)
        # scipy's own rounding is relative to log Gamma.
        wanted = special.gammaln(shape) - (shape - 0.5) * log_shape + shape - half_log
        assert value == pytest.approx(wanted, abs=1e-12 + 4e-16 * shape * abs(log_shape))
        wanted = 0.5 - shape * (log_shape - special.digamma(shape))
        assert slope == pytest.approx(wanted, abs=1e-10 + 4e-16 * shape * abs(log_shape))


def test_smallest_and_largest_draws_are_finite_and_in_order():
    noise = np.concatenate([[-40.0, -9.1], np.linspace(-9.0, 9.0, 4001), [9.1, 40.0]])
    for shape in (*SHAPES, np.exp(LOW_LOG_SHAPE), np.exp(HIGH_LOG_SHAPE)):
        draws = np.array([log_gamma_draw(shape, y)[0] for y in noise])
        assert np.isfinite(draws).all()
        assert (np.diff(draws[1:-1]) >= 0.0).all()
        assert draws[0] == draws[1]
        assert draws[-1] == draws[-2]


def run_tree(rows, features, own, evaluated, noise):
    """draws [E], draw_slopes [E], log_q [R] and scores [R, E, 2]."""
    edges, components = len(noise), len(evaluated)
    draws, draw_slopes = np.empty(edges), np.empty(edges)
    log_q, scores = np.empty(components), np.empty((components, edges, 2))
    gamma.base_tree(rows, features, own, evaluated, noise, gamma_tables(), draws, draw_slopes, log_q, scores)
    return draws, draw_slopes, log_q, scores


class Batch:
    """Trees with features over the shapes that matter: from 0.3 to 1e5, and edges whose lengths pile up at zero."""

    def __init__(self, trees=3, edges=21, components=3, seed=1):
        rng = np.random.default_rng(seed)
        self.evaluated = np.array([2, 0, 3])[:components]
        self.features = rng.normal(size=(4, 40, 2)) * 0.4
        # Row 0 to 9: shapes of 0.3, 1, ... 1e5 when no other row adds to them; row 2 has its length at zero.
        self.features[:, :10, 1] = np.linspace(np.log(0.3), np.log(1e5), 10) + 0.02 * rng.normal(size=(4, 10))
        self.features[:, :10, 0] *= 0.002 / np.exp(0.5 * self.features[:, :10, 1])
        self.features[:, 2] = [-9.0, -0.3]
        self.rows = rng.integers(10, 40, size=(trees, edges, 3), dtype=np.int32)
        self.rows[:, ::3, 2] = -1
        self.rows[:, 1:11] = -1
        self.rows[:, 1:11, 0] = np.arange(10)
        self.own = np.arange(trees) % components
        self.noise = rng.normal(size=(trees, edges))
        self.draw_upstream = rng.normal(size=(trees, edges))
        self.log_q_upstream = rng.normal(size=(trees, components))
        self.log_q_upstream[0, components - 1] = 0.0

    def only_edge(self, row):
        """The batch with a single edge, of a single feature row, in each tree."""
        self.rows = np.full((len(self.rows), 1, 3), -1, np.int32)
        self.rows[..., 0] = row
        self.noise, self.draw_upstream = self.noise[:, :1].copy(), self.draw_upstream[:, :1].copy()
        return self

    def forward(self, features):
        """draws, draw_slopes, log_q, scores with the trees as first axis."""
        done = [run_tree(*item, self.evaluated, y) for *item, y in zip(
            self.rows, [features] * len(self.rows), self.own, self.noise, strict=True)]  # fmt: skip
        return [np.stack(part) for part in zip(*done, strict=True)]

    def objective(self, features):
        draws, _, log_q, _ = self.forward(features)
        return np.sum(self.draw_upstream * draws) + np.sum(self.log_q_upstream * log_q)

    def gradient(self, features, r):
        _, slopes, _, scores = self.forward(features)
        table = np.full(features.shape[1:], np.nan)
        gamma.base_gradient(self.rows, self.own, slopes, scores, self.draw_upstream, self.log_q_upstream, r, table)
        return table


def test_draws_and_densities_are_those_of_the_twin():
    batch = Batch()
    draws, _, log_q, _ = batch.forward(batch.features)
    for t, rows in enumerate(batch.rows):
        wanted = twin.base_tree(rows, batch.features, batch.own[t], batch.evaluated, batch.noise[t])
        np.testing.assert_allclose(draws[t], wanted[0], rtol=1e-9, atol=1e-11)
        # At the kernel's own draws the densities are exact.
        tables = [twin.edge_parameters(rows, batch.features[r]) for r in batch.evaluated]
        exact = [twin.log_density(draws[t], *table.T).sum() for table in tables]
        np.testing.assert_allclose(log_q[t], exact, rtol=1e-9)


@pytest.mark.parametrize("r", [0, 1, 2])
def test_gradient_is_that_of_finite_differences(r):
    batch = Batch()
    found = batch.gradient(batch.features, r)
    wanted = np.zeros_like(found)
    for row, column in np.ndindex(found.shape):
        step = 1e-5 if column else 1e-6
        ends = []
        for sign in (1.0, -1.0):
            moved = batch.features.copy()
            moved[batch.evaluated[r], row, column] += sign * step
            ends.append(batch.objective(moved))
        wanted[row, column] = (ends[0] - ends[1]) / (2.0 * step)
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-5)
    assert np.count_nonzero(found) > 40


def test_components_that_are_not_evaluated_do_not_matter():
    batch = Batch()
    moved = batch.features.copy()
    moved[1] = np.nan
    assert batch.objective(moved) == batch.objective(batch.features)


@pytest.mark.parametrize("log_shape", [np.log(0.01), np.log(1e9)])
def test_beyond_its_limits_log_shape_counts_as_the_limit_and_has_no_gradient(log_shape):
    batch = Batch(trees=1, components=1).only_edge(5)
    batch.features[2, 5] = [-1.3, log_shape]
    draws, slopes, log_q, scores = batch.forward(batch.features)
    limited = batch.features.copy()
    limited[2, 5, 1] = np.clip(log_shape, LOW_LOG_SHAPE, HIGH_LOG_SHAPE)
    assert draws == batch.forward(limited)[0]
    assert log_q == pytest.approx(twin.log_density(draws[0, 0], -1.3, limited[2, 5, 1]), abs=1e-6)
    assert slopes[0, 0] == scores[0, 0, 0, 1] == 0.0
    gradient = batch.gradient(batch.features, 0)
    assert gradient[5, 1] == 0.0
    assert gradient[5, 0] != 0.0


def test_a_draw_where_a_component_has_no_density_keeps_the_gradient_finite():
    batch = Batch(trees=1, components=2).only_edge(5)
    batch.features[2, 5], batch.features[0, 5] = [2.0, 1.0], [-2000.0, 15.0]
    batch.log_q_upstream[:] = [[1.0, 0.0]]
    _, _, log_q, _ = batch.forward(batch.features)
    assert log_q[0, 1] < -1e200
    assert np.isfinite(batch.gradient(batch.features, 0)).all()
    assert (batch.gradient(batch.features, 1) == 0.0).all()


def test_features_that_are_not_numbers_give_densities_that_are_not():
    batch = Batch(trees=1, components=1).only_edge(5)
    for column in (0, 1):
        broken = batch.features.copy()
        broken[2, 5, column] = np.nan
        assert np.isnan(batch.forward(broken)[2]).all()


@pytest.mark.parametrize(("mode", "shape"), [(-1.0, 0.3), (-12.0, 0.9), (0.5, 1.0), (-3.0, 30.0), (0.1, 1e5)])
def test_density_integrates_to_one(mode, shape):
    """Component 0 puts one draw at each point of a grid: its shape is so large that its draws are what its modes say."""
    left, right = (-100.0, 8.0) if shape < 1.0 else (-40.0, 6.0)
    grid = mode + np.linspace(left, right, 4001) / np.sqrt(max(shape, 1.0))
    features = np.zeros((2, len(grid), 2))
    features[0, :, 0], features[0, :, 1] = grid, HIGH_LOG_SHAPE
    features[1] = mode, np.log(shape)
    density, at = np.empty(len(grid)), np.empty(len(grid))
    for i in range(len(grid)):
        rows = np.array([[i, -1, -1]], np.int32)
        draws, _, log_q, _ = run_tree(rows, features, 0, np.array([0, 1]), np.zeros(1))
        at[i], density[i] = draws[0], np.exp(log_q[1])
    assert integrate.trapezoid(density, at) == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize(("mode", "shape"), [(-9.0, 0.3), (-1.0, 1.0), (-2.0, 7.0), (0.0, 1e5)])
def test_draws_have_the_distribution(mode, shape):
    features = np.array([[[mode, np.log(shape)]]])
    noise = np.random.default_rng(17).normal(size=20_000)
    rows = np.tile(np.array([[0, -1, -1]], np.int32), (len(noise), 1))
    draws, _, _, _ = run_tree(rows, features, 0, np.array([0]), noise)
    wanted = stats.gamma(shape, scale=np.exp(mode) / shape)
    assert stats.kstest(np.exp(draws), wanted.cdf).pvalue > 1e-3


UNCOMPILED = """
import sys
import numpy as np
from vbpi_mix.phylo.branches.kernels import gamma, gamma_function
stored = dict(np.load(sys.argv[1]))
tables = gamma_function.gamma_tables()
rows, features, evaluated, noise = (stored[name] for name in ("rows", "features", "evaluated", "noise"))
edges, components = len(noise), len(evaluated)
draws, slopes, log_q, scores = np.empty(edges), np.empty(edges), np.empty(components), np.empty((components, edges, 2))
gamma.base_tree(rows, features, 1, evaluated, noise, tables, draws, slopes, log_q, scores)
table = np.empty(features.shape[1:])
up_draws, up_log_q = stored["up_draws"], stored["up_log_q"]
gamma.base_gradient(rows[None], np.array([1]), slopes[None], scores[None], up_draws[None], up_log_q[None], 1, table)
np.savez(sys.argv[2], draws=draws, log_q=log_q, table=table)
"""


def test_kernels_run_uncompiled_and_give_the_same(tmp_path):
    batch = Batch(trees=2)
    np.savez(
        tmp_path / "in.npz", rows=batch.rows[1], features=batch.features, evaluated=batch.evaluated,
        noise=batch.noise[1], up_draws=batch.draw_upstream[1], up_log_q=batch.log_q_upstream[1],
    )  # fmt: skip
    command = [sys.executable, "-c", UNCOMPILED, str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]
    subprocess.run(command, check=True, timeout=120, env={**os.environ, "NUMBA_DISABLE_JIT": "1"})
    found = np.load(tmp_path / "out.npz")
    draws, _, log_q, _ = batch.forward(batch.features)
    np.testing.assert_allclose(found["draws"], draws[1], rtol=1e-11)
    np.testing.assert_allclose(found["log_q"], log_q[1], rtol=1e-9)
    batch.rows, batch.own, batch.noise = batch.rows[1:], batch.own[1:], batch.noise[1:]
    batch.draw_upstream, batch.log_q_upstream = batch.draw_upstream[1:], batch.log_q_upstream[1:]
    np.testing.assert_allclose(found["table"], batch.gradient(batch.features, 1), rtol=1e-8, atol=1e-8)
