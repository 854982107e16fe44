"""Gamma variables as smooth functions of a normal one, and the logarithm of the gamma function, from tables.

Let G ~ Gamma(a, rate 1) and w = log(G / a). With eta the root of eta^2 / 2 = e^w - 1 - w that has the sign of w, and
corr(a) the remainder of Stirling's formula, log Gamma(a) = (a - 1/2) log a - a + log(2 pi) / 2 + corr(a), the density of w
is

    sqrt(a / 2 pi) exp(-corr(a) - a eta^2 / 2),

so that sqrt(a) eta is nearly standard normal (Temme 1979, "The asymptotic expansion of the incomplete gamma functions").
The inverse distribution function of w at Phi(y), y a standard normal variable, is therefore written with s = 1 / sqrt(a)

    eta = s (y + s g(s, y)),   w = eta (k - eta / 2),   k(eta) = (e^w - 1) / eta,

where g lies between -0.4 and 0 and is smooth over all shapes and far into both tails (as a tends to infinity it tends to
a function of s y that is -1/3 at zero), and k has no parameter. Both are tabulated as polynomials on small patches, so a
draw takes no iteration, no rejection and no logarithm, and its derivative in the shape with y fixed (implicit
reparameterisation: Figurnov, Mohamed and Mnih 2018) is that of the polynomial. Also g(-s, y) = g(s, -y) as far as
the asymptotic expansion goes, which lets interpolation pass through s = 0 without visiting huge shapes.

The tables are filled once by slow functions that are right to rounding: power series and continued fraction of the
incomplete gamma function, Newton's method in y.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from vbpi_mix.accelerate import inner_kernel, kernel
from vbpi_mix.kernels.simd import LANES, splat, vload, vstore

# Shapes outside are taken to be the nearest inside. Normal noise beyond the limit is taken to be at it: 2e-19 of draws.
LOW_LOG_SHAPE, HIGH_LOG_SHAPE = float(np.log(0.05)), float(np.log(1e7))
NOISE_LIMIT = 9.0
ETA_LIMIT = 43.0  # covers the smallest shape with noise at its limit

# Patches are this wide, and their polynomials have eight coefficients in each variable, in u from -1 to 1 on the patch.
SCALE_WIDTH, NOISE_WIDTH, ETA_WIDTH, LOG_SHAPE_WIDTH = 0.125, 0.5, 0.25, 0.25
NOISE_PATCHES = round(2 * NOISE_LIMIT / NOISE_WIDTH)
# g is computed at Chebyshev points of these larger patches; the first passes through zero.
COARSE_SCALES = ((-0.25, 0.25, 28), (0.25, 0.5, 16), (0.5, 1.0, 16), (1.0, 2.0, 16), (2.0, 3.0, 16), (3.0, 4.5, 16))
COARSE_NOISE_WIDTH, COARSE_NOISE_POINTS = 1.0, 16

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
SERIES_TERMS = 48


def _unit_series() -> Any:
    """Coefficients of e^w - 1 in powers of eta, from mu mu' = eta (1 + mu), mu = e^w - 1; |eta| < 2 sqrt(pi)."""
    series = np.zeros(SERIES_TERMS)
    series[1] = 1.0
    for n in range(2, SERIES_TERMS):
        series[n] = series[n - 1] / (n + 1) - 0.5 * series[2:n] @ series[n - 1 : 1 : -1]
    return series


UNIT_SERIES = _unit_series()


class GammaTables(NamedTuple):
    """Flat float64 tables: g by scale, noise, power of the noise, power of the scale; k by eta and power; corr by log
    shape and power.
    """

    displacement: Any
    quotient: Any
    correction: Any


@kernel
def exact_quotient(eta):
    """k(eta) = (e^w - 1) / eta, by its series near zero and by Newton's method, monotone from its start, elsewhere."""
    if abs(eta) < 1.0:
        total = 0.0
        for n in range(SERIES_TERMS - 1, 0, -1):
            total = total * eta + UNIT_SERIES[n]
        return total
    target = 0.5 * eta * eta
    w = -1.0 - target if eta < 0.0 else math.log1p(eta + target)
    for _ in range(50):
        slope = math.expm1(w)
        step = (slope - w - target) / slope
        w -= step
        if abs(step) <= 1e-15 * abs(w):
            break
    return math.expm1(w) / eta


@kernel
def exact_correction(shape):
    """corr(shape): Stirling's series from 12 on, and corr(a) - corr(a + 1) = (a + 1/2) log(1 + 1/a) - 1 up to there."""
    total = 0.0
    while shape < 12.0:
        total += (shape + 0.5) * math.log1p(1.0 / shape) - 1.0
        shape += 1.0
    i = 1.0 / (shape * shape)
    series = 691.0 / 360360.0 - i / 156.0
    series = 1.0 / 1680.0 - i * (1.0 / 1188.0 - i * series)
    return total + (1.0 / 12.0 - i * (1.0 / 360.0 - i * (1.0 / 1260.0 - i * series))) / shape


@kernel
def _lower_series(a, x):
    """1 + x / (a + 1) + x^2 / ((a + 1) (a + 2)) + ..."""
    term, total, n = 1.0, 1.0, 0.0
    while term > 1e-17 * total:
        n += 1.0
        term *= x / (a + n)
        total += term
    return total


@kernel
def _upper_fraction(a, x):
    """1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - ...)), x > a, by Lentz's method."""
    b = x + 1.0 - a
    c, d = 1e300, 1.0 / b
    total, i = d, 0.0
    while i < 1e6:
        i += 1.0
        numerator = -i * (i - a)
        b += 2.0
        d = 1.0 / (numerator * d + b)
        c = b + numerator / c
        factor = c * d
        total *= factor
        if abs(factor - 1.0) < 1e-15:
            break
    return total


@kernel
def exact_displacement(scale, noise):
    """g(scale, noise): Newton's method for the logarithm of the smaller tail, as a function of sqrt(a) eta."""
    a = 1.0 / (scale * scale)
    correction = exact_correction(a)
    log_tail = math.log(0.5 * math.erfc(abs(noise) / math.sqrt(2.0)))
    v = noise - scale / 3.0
    for _ in range(30):
        eta = v * scale
        k = exact_quotient(eta)
        x = a * math.exp(eta * (k - 0.5 * eta))
        # The density of w is `density` / scale; x^a e^-x / Gamma(a) is that too.
        density = math.exp(-0.5 * v * v - correction - HALF_LOG_TWO_PI)
        if noise <= 0.0:
            tail = density * scale * _lower_series(a, x)
        elif x < a + 1.0:
            tail = 1.0 - density * scale * _lower_series(a, x)
        else:
            tail = density / scale * _upper_fraction(a, x)
        step = (math.log(tail) - log_tail) * tail * k / density
        v += step if noise > 0.0 else -step
        if abs(step) < 1e-9:  # it converges quadratically: what is left is rounding
            break
    return (v - noise) / scale


@kernel
def displacements(scales, noise, values):
    for i in range(scales.shape[0]):
        for j in range(noise.shape[0]):
            values[i, j] = exact_displacement(scales[i], noise[j])


def _chebyshev_points(points: int) -> Any:
    return np.cos(np.pi * (np.arange(points) + 0.5) / points)


def _to_powers() -> Any:
    """The matrix that turns values at eight Chebyshev points into coefficients of powers."""
    return np.linalg.inv(np.vander(_chebyshev_points(LANES), increasing=True))


def _refine(low: float, high: float, points: int, first: float, patches: int, width: float) -> Any:
    """Matrices [patches, 8, points]: values at the Chebyshev points of (low, high) to coefficients on each patch."""
    middles = first + width * (np.arange(patches) + 0.5)
    at = middles[:, None] + 0.5 * width * _chebyshev_points(LANES)
    angles = np.arccos((2.0 * at - low - high) / (high - low))
    degrees = np.arange(points)
    to_coefficients = np.cos(np.outer(degrees, np.pi * (degrees + 0.5) / points)) * 2.0 / points
    to_coefficients[0] *= 0.5
    return _to_powers() @ np.cos(angles[..., None] * degrees) @ to_coefficients


def _displacement_table() -> Any:
    """g by patch of the scale, patch of the noise, power of the noise, power of the scale."""
    centres = np.arange(-NOISE_LIMIT, NOISE_LIMIT, COARSE_NOISE_WIDTH) + 0.5 * COARSE_NOISE_WIDTH
    points = 0.5 * COARSE_NOISE_WIDTH * _chebyshev_points(COARSE_NOISE_POINTS)
    noise = (centres[:, None] + points).ravel()
    per_patch = round(COARSE_NOISE_WIDTH / NOISE_WIDTH)
    half = 0.5 * COARSE_NOISE_WIDTH
    by_noise = _refine(-half, half, COARSE_NOISE_POINTS, -half, per_patch, NOISE_WIDTH)
    rows = []
    for low, high, count in COARSE_SCALES:
        scales = 0.5 * (low + high) + 0.5 * (high - low) * _chebyshev_points(count)
        positive = scales[scales > 0.0]
        values = np.empty((positive.shape[0], noise.shape[0]))
        displacements(positive, noise, values)
        if low < 0.0:
            values = np.concatenate([values, values[::-1, ::-1]])  # g(-s, y) = g(s, -y)
        start = max(low, 0.0)
        by_scale = _refine(low, high, count, start, round((high - start) / SCALE_WIDTH), SCALE_WIDTH)
        blocks = values.reshape(count, centres.shape[0], COARSE_NOISE_POINTS)
        found = np.einsum("psi,icj,qtj->pcqts", by_scale, blocks, by_noise, optimize=True)
        rows.append(found.reshape(by_scale.shape[0], NOISE_PATCHES, LANES, LANES))
    return np.ascontiguousarray(np.concatenate(rows)).ravel()


def _curve_table(function: Any, low: float, high: float, width: float) -> Any:
    """A function of one variable by patch and power."""
    middles = low + width * (np.arange(math.ceil((high - low) / width)) + 0.5)
    at = middles[:, None] + 0.5 * width * _chebyshev_points(LANES)
    values = np.array([function(x) for x in at.ravel().tolist()]).reshape(at.shape)
    return np.ascontiguousarray(values @ _to_powers().T).ravel()


@functools.cache
def gamma_tables() -> GammaTables:
    """The tables, 0.7 MB, computed at the first call."""
    return GammaTables(
        _displacement_table(),
        _curve_table(exact_quotient, -ETA_LIMIT, ETA_LIMIT, ETA_WIDTH),
        _curve_table(lambda log: exact_correction(math.exp(log)), LOW_LOG_SHAPE, HIGH_LOG_SHAPE, LOG_SHAPE_WIDTH),
    )


@kernel
def displacement(table, scale, noise, powers):
    """g and its derivative in the scale; powers [8] is scratch.

    scale from 0 to 4.5, noise within its limit: nothing is checked here.
    """
    row = scale * (1.0 / SCALE_WIDTH)
    column = (noise + NOISE_LIMIT) * (1.0 / NOISE_WIDTH)
    i, j = int(row), min(int(column), NOISE_PATCHES - 1)
    u, v = 2.0 * (row - i) - 1.0, splat(2.0 * (column - j) - 1.0)
    at = (i * NOISE_PATCHES + j) * LANES * LANES
    series = vload(table, at + (LANES - 1) * LANES)
    for q in range(LANES - 2, -1, -1):
        series = series * v + vload(table, at + q * LANES)
    vstore(powers, 0, series)
    value, slope = powers[LANES - 1], 0.0
    for q in range(LANES - 2, -1, -1):
        slope = slope * u + value
        value = value * u + powers[q]
    return value, slope * (2.0 / SCALE_WIDTH)


@inner_kernel
def quotient(table, eta):
    """k(eta) for eta within its limit."""
    place = (eta + ETA_LIMIT) * (1.0 / ETA_WIDTH)
    i = int(place)
    u = 2.0 * (place - i) - 1.0
    value = table[i * LANES + LANES - 1]
    for q in range(LANES - 2, -1, -1):
        value = value * u + table[i * LANES + q]
    return value


@kernel
def correction(table, log_shape):
    """corr and its derivative in log shape, which lies within its limits."""
    place = (log_shape - LOW_LOG_SHAPE) * (1.0 / LOG_SHAPE_WIDTH)
    i = int(place)
    u = 2.0 * (place - i) - 1.0
    value, slope = table[i * LANES + LANES - 1], 0.0
    for q in range(LANES - 2, -1, -1):
        slope = slope * u + value
        value = value * u + table[i * LANES + q]
    return value, slope * (2.0 / LOG_SHAPE_WIDTH)


@kernel
def log_gamma_draw(tables, scale, noise, powers):
    """w = log(G / shape) at the quantile Phi(noise), and dw / d log shape with the noise fixed; scale = shape^(-1/2).

    powers [8] is scratch.
    """
    y = noise if noise > -NOISE_LIMIT else -NOISE_LIMIT  # NaN too must not index a table
    y = min(y, NOISE_LIMIT)
    g, g_slope = displacement(tables.displacement, scale, y, powers)
    eta = scale * (y + scale * g)
    k = quotient(tables.quotient, eta)
    in_scale = y + scale * (2.0 * g + scale * g_slope)
    return eta * (k - 0.5 * eta), -0.5 * scale * in_scale / k
