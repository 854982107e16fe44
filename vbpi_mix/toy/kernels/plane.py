"""Gaussians and targets in the plane, each with its gradient.

A step draws a few dozen particles: as torch operations it would be fifty nodes of a few microseconds' work,
and five times as long in the dispatching of them. Arrays come one by one, since numba takes some microseconds more to
look into named tuples of them: a tenth of the time of a draw and its gradient. All arrays are
float64 and contiguous; M = S K particles.
"""

from __future__ import annotations

import numpy as np

from vbpi_mix.accelerate import kernel

LOG_TWO_PI = np.log(2.0 * np.pi)
# Products are turned into logarithms above this; N pixels in a row multiply it by at most about 2.2^N.
LARGE = 1e150


@kernel
def sample(means, log_variances, noise, sampled, z):
    """Draw z [S, K, 2] from components `sampled` int64 [S]; means, log_variances [A, 2]; noise [S, K, 2]."""
    S, K, _ = noise.shape
    for s in range(S):
        a = sampled[s]
        for d in range(2):
            mean, deviation = means[a, d], np.exp(0.5 * log_variances[a, d])
            for k in range(K):
                z[s, k, d] = mean + deviation * noise[s, k, d]


@kernel
def log_density(means, log_variances, z, evaluated, log_q):
    """log_q [M, R] of z [M, 2] under the components `evaluated` int64 [R]."""
    for r in range(len(evaluated)):
        a = evaluated[r]
        x, y = means[a, 0], means[a, 1]
        p, q = np.exp(-log_variances[a, 0]), np.exp(-log_variances[a, 1])
        constant = -0.5 * (log_variances[a, 0] + log_variances[a, 1]) - LOG_TWO_PI
        for m in range(len(z)):
            log_q[m, r] = constant - 0.5 * (p * (z[m, 0] - x) ** 2 + q * (z[m, 1] - y) ** 2)


@kernel
def sample_gradient(
    means,
    log_variances,
    noise,
    sampled,
    evaluated,
    z,
    grad_log_q,
    total_z,
    grad_means,
    grad_log_variances,
):
    """The gradient of `sample` followed by `log_density`.

    z [S, K, 2], grad_log_q [S, K, R]. Added to: total_z [S, K, 2], which comes in as the gradient in the positions;
    grad_means, grad_log_variances [A, 2].
    """
    S, K, _ = noise.shape
    for r in range(len(evaluated)):
        a = evaluated[r]
        for d in range(2):
            mean, precision = means[a, d], np.exp(-log_variances[a, d])
            by_mean, by_log_variance = 0.0, 0.0
            for s in range(S):
                for k in range(K):
                    gradient = grad_log_q[s, k, r]
                    pull = precision * (z[s, k, d] - mean)
                    by_mean += gradient * pull
                    by_log_variance += gradient * (pull * (z[s, k, d] - mean) - 1.0)
                    total_z[s, k, d] -= gradient * pull
            grad_means[a, d] += by_mean
            grad_log_variances[a, d] += 0.5 * by_log_variance
    for s in range(S):
        a = sampled[s]
        for d in range(2):
            half_deviation = 0.5 * np.exp(0.5 * log_variances[a, d])
            for k in range(K):
                grad_means[a, d] += total_z[s, k, d]
                grad_log_variances[a, d] += total_z[s, k, d] * noise[s, k, d] * half_deviation


@kernel
def bernoulli(z, weights, ones, odds, inverse_odds, log_odds, constant, value, gradient):
    """value [M]: log-probability of N x D pixels with logits z . w_i + log odds[i, n]; gradient [M, 2] in z.

    weights [2, D]; ones [D], how many of the N pixels i are 1; odds [D, N] and their inverse; log_odds [D],
    their sum over n; constant, the sum of log odds over pixels that are 1. One exponential serves N pixels:
    log(1 + e^t) with t = a + c is log(1 + e^a e^c), or t + log(1 + e^-a e^-c) where a > 0. The logarithms are
    taken of products.
    """
    N = odds.shape[1]
    for m in range(len(z)):
        total, product, first, second = constant, 1.0, 0.0, 0.0
        for i in range(len(ones)):
            a = z[m, 0] * weights[0, i] + z[m, 1] * weights[1, i]
            power = np.exp(-abs(a))
            total += ones[i] * a
            expected = 0.0
            if a > 0.0:
                total -= N * a + log_odds[i]
                for n in range(N):
                    tail = 1.0 + power * inverse_odds[i, n]
                    product *= tail
                    expected += 1.0 / tail
            else:
                for n in range(N):
                    tail = 1.0 + power * odds[i, n]
                    product *= tail
                    expected += 1.0 - 1.0 / tail
            if product > LARGE:
                total -= np.log(product)
                product = 1.0
            first += (ones[i] - expected) * weights[0, i]
            second += (ones[i] - expected) * weights[1, i]
        value[m] = total - np.log(product)
        gradient[m, 0] = first
        gradient[m, 1] = second


@kernel
def funnel_prior(z, std, value, gradient):
    """value [M]: log N(z_1; 0, std^2) + log N(z_2; 0, e^(z_1 / 2)); gradient [M, 2] in z."""
    for m in range(len(z)):
        scaled = z[m, 1] * np.exp(-0.5 * z[m, 0])
        square = z[m, 1] * scaled
        value[m] = -0.5 * ((z[m, 0] / std) ** 2 + 0.5 * z[m, 0] + square) - np.log(std) - LOG_TWO_PI
        gradient[m, 0] = 0.25 * square - 0.25 - z[m, 0] / std**2
        gradient[m, 1] = -scaled
