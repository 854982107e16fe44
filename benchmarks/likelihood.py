"""Time of one tree's log-likelihood and all its branch gradients, one thread, against two baselines in the same run.

    VBPI_MIX_DATA=... python benchmarks/likelihood.py

Baselines: plain pruning in numpy over whole pattern arrays (values only), and the machine's own peak, measured as
independent fused multiply-adds in registers. Then the same for DS1 to DS8 and 200 simulated taxa, per taxon and pattern.
"""

from __future__ import annotations

import numba
import numpy as np
from common import median_seconds, patterns_of

from vbpi_mix.accelerate import kernel, set_threads
from vbpi_mix.kernels.simd import LANES, splat, vload, vstore
from vbpi_mix.phylo.data.site_patterns import compress
from vbpi_mix.phylo.models.likelihood import log_likelihoods, log_likelihoods_and_gradients, pack_patterns
from vbpi_mix.phylo.models.simulate import simulate_alignment
from vbpi_mix.phylo.trees.topology import random_topologies

TREES = 10
# Floating-point operations per pattern: internal node up 16, down 31; taxon 5 up, 5 down and 10 for its gradient.
PER_INTERNAL_NODE, PER_TAXON = 47, 20


@kernel
def multiply_add(values, rounds):
    """`rounds` of eight independent multiply-adds of eight lanes."""
    a, b = splat(1.0000001), splat(1e-9)
    x0, x1, x2, x3 = vload(values, 0), vload(values, 8), vload(values, 16), vload(values, 24)
    x4, x5, x6, x7 = vload(values, 32), vload(values, 40), vload(values, 48), vload(values, 56)
    for _ in range(rounds):
        x0, x1, x2, x3 = x0 * a + b, x1 * a + b, x2 * a + b, x3 * a + b
        x4, x5, x6, x7 = x4 * a + b, x5 * a + b, x6 * a + b, x7 * a + b
    vstore(values, 0, x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7)


def numpy_pruning(children, decays, states, weights):
    """Log-likelihoods of T trees, one by one, four states at a time in numpy."""
    n = states.shape[0]
    bits = ((states[:, :, None] >> np.arange(4)) & 1).astype(float)
    values = []
    for tree, e in zip(children, decays, strict=True):
        partials = dict(enumerate(bits))
        for k, (a, b) in enumerate(tree.tolist()):
            ms = [e[c - 1] * partials[c] + 0.25 * (1 - e[c - 1]) * partials[c].sum(1, keepdims=True) for c in (a, b)]
            partials[n + k] = ms[0] * ms[1]
        top = partials[2 * n - 3]
        top = e[-1] * top + 0.25 * (1 - e[-1]) * top.sum(1, keepdims=True)
        values.append(weights @ np.log(0.25 * (partials[0] * top).sum(1)))
    return np.array(values)


def measure(packed, name):
    """Milliseconds per tree with and without gradients, and nanoseconds per taxon and pattern."""
    rng = np.random.default_rng(1)
    n = packed.n_taxa
    children = random_topologies(n, TREES, rng)
    lengths = rng.exponential(0.1, (TREES, 2 * n - 3))
    full = median_seconds(lambda: log_likelihoods_and_gradients(children, lengths, packed)) / TREES
    value = median_seconds(lambda: log_likelihoods(children, lengths, packed)) / TREES
    patterns = packed.weights.size
    print(f"{name:8s} {n:4d} {patterns:6d}  {1e3 * full:7.4f}  {1e3 * value:7.4f}  {1e9 * full / n / patterns:6.2f}")
    return full, children, lengths


def main() -> None:
    """Print the table."""
    set_threads(1)
    rounds = 100_000
    buffer = np.ones(64)
    peak = rounds * 8 * LANES * 2 / median_seconds(lambda: multiply_add(buffer, rounds), 20, 3)
    print(f"numba {numba.__version__}, one thread; peak of independent multiply-adds {peak / 1e9:.1f} Gflop/s")
    print("data     taxa patterns  ms with gradients  ms value  ns per taxon and pattern (padded patterns)")
    packed = pack_patterns(patterns_of("DS1")[0])
    full, children, lengths = measure(packed, "DS1")
    n, patterns = packed.n_taxa, packed.weights.size
    operations = patterns * ((n - 2) * PER_INTERNAL_NODE + n * PER_TAXON)
    state_bytes = patterns * ((n - 2) * 5 * 8 * 3 + n * 9 * 2)
    print(
        f"  DS1: {operations / 1e6:.2f} million operations and {state_bytes / 1e6:.2f} MB of state read or written per "
        f"tree: {operations / full / 1e9:.1f} Gflop/s, {operations / full / peak:.0%} of the peak"
    )
    states = packed.codes.reshape(-1, n, packed.codes.size // n // (patterns // 32)).transpose(1, 0, 2).reshape(n, -1)
    decays = np.exp(-4 / 3 * lengths)
    slow = median_seconds(lambda: numpy_pruning(children, decays, states, packed.weights), 10, 1) / TREES
    same = np.abs(numpy_pruning(children, decays, states, packed.weights) - log_likelihoods(children, lengths, packed)).max()
    print(f"  numpy pruning, values only: {1e3 * slow:.2f} ms; ratio {slow / full:.0f} (values differ by {same:.1e})")
    for k in range(2, 9):
        measure(pack_patterns(patterns_of(f"DS{k}")[0]), f"DS{k}")
    measure(pack_patterns(compress(simulate_alignment(200, 1500, 1, 0.05)[0])), "200 taxa")


if __name__ == "__main__":
    main()
