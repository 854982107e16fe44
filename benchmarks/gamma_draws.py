"""What the gamma base of branch lengths costs beside the log-normal one, in one run and on one thread.

    python benchmarks/gamma_draws.py [--trees 20] [--edges 51] [--components 4] [--repeats 400]

Random features: shapes about 10 with a log sd of 1.5, three rows an edge. One density is the difference of a pass over
all components and a pass over one, by component; a draw is what is left of the latter.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, NamedTuple

import numpy as np
from common import median_seconds

from vbpi_mix.accelerate import kernel
from vbpi_mix.phylo.branches.kernels import gamma, lognormal
from vbpi_mix.phylo.branches.kernels.gamma_function import gamma_tables


class Batch(NamedTuple):
    """T trees under R components: arrays as in the kernels, with T as the first axis where a kernel has a tree."""

    rows: Any
    features: Any
    own: Any
    evaluated: Any
    noise: Any
    draws: Any
    log_q: Any


@kernel
def lognormal_forward(batch, means, precisions):
    for t in range(batch.rows.shape[0]):
        lognormal.base_tree(
            batch.rows[t], batch.features, batch.own[t], batch.evaluated, batch.noise[t],
            batch.draws[t], batch.log_q[t], means[t], precisions[t],
        )  # fmt: skip


@kernel
def gamma_forward(batch, tables, draw_slopes, scores):
    for t in range(batch.rows.shape[0]):
        gamma.base_tree(
            batch.rows[t], batch.features, batch.own[t], batch.evaluated, batch.noise[t], tables,
            batch.draws[t], draw_slopes[t], batch.log_q[t], scores[t],
        )  # fmt: skip


def make_batch(trees: int, edges: int, components: int, gammas: bool) -> Batch:
    """Trees that share feature rows, a twentieth of the edges of each its own."""
    rng = np.random.default_rng(1)
    table = rng.normal(size=(components, 3 * edges, 2)) * (0.4 if gammas else 0.2)
    table[..., 0] -= 1.0
    if gammas:
        table[..., 1] = 0.8 + 0.85 * rng.normal(size=table.shape[:2])
    rows = rng.integers(0, 3 * edges, size=(trees, edges, 3), dtype=np.int32)
    return Batch(
        rows,
        table,
        np.arange(trees) % components,
        np.arange(components),
        rng.normal(size=(trees, edges)),
        np.empty((trees, edges)),
        np.empty((trees, components)),
    )


def report(name: str, one: float, all_components: float, gradient: float, options: argparse.Namespace) -> None:
    """Seconds of passes over one and over all components, and of the gradient of all, as nanoseconds an edge."""
    per_edge = 1e9 / (options.trees * options.edges)
    density = (all_components - one) * per_edge / (options.components - 1)
    print(
        f"{name:12} draw {one * per_edge - density:7.1f}   density {density:6.1f}   gradient of a component "
        f"{gradient * per_edge / options.components:6.1f}   forward, all components {all_components * per_edge:7.1f}"
    )


def main() -> None:
    """Time both bases and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("trees", 20), ("edges", 51), ("components", 4), ("repeats", 400)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    trees, edges, components = options.trees, options.edges, options.components
    if components < 2:
        parser.error("--components must be at least 2")
    begin = time.perf_counter()
    tables = gamma_tables()
    first = time.perf_counter() - begin
    begin = time.perf_counter()
    gamma_tables.__wrapped__()
    print(f"tables: first call {first:.2f} s with compiling or loading, then {time.perf_counter() - begin:.3f} s")
    rng = np.random.default_rng(2)
    up_draws, up_log_q = rng.normal(size=(trees, edges)), rng.normal(size=(trees, components))
    print(f"ns an edge; {trees} trees of {edges} edges, {components} components")
    for name in ("log-normal", "gamma"):
        seconds = []
        batch = make_batch(trees, edges, components, gammas=name == "gamma")
        gradient = np.empty_like(batch.features[0])
        for some in (1, components):
            part = batch._replace(
                evaluated=np.arange(some), own=batch.own % some, log_q=np.ascontiguousarray(batch.log_q[:, :some])
            )
            wide = np.empty((trees, some, edges))
            if name == "gamma":
                slopes, scores = np.empty((trees, edges)), np.empty((trees, some, edges, 2))
                forward = (gamma_forward, (part, tables, slopes, scores))
            else:
                precisions = np.empty_like(wide)
                forward = (lognormal_forward, (part, wide, precisions))
            seconds.append(median_seconds(lambda call=forward: call[0](*call[1]), options.repeats))
        if name == "gamma":
            back = (gamma.base_gradient, (batch.rows, batch.own, slopes, scores, up_draws, up_log_q))
        else:
            saved = (batch.rows, batch.own, batch.noise, batch.draws, wide, precisions, up_draws, up_log_q)
            back = (lognormal.base_gradient, saved)

        def all_gradients(call: Any = back, into: Any = gradient) -> None:
            for r in range(components):
                call[0](*call[1], r, into)

        report(name, *seconds, median_seconds(all_gradients, options.repeats), options)


if __name__ == "__main__":
    main()
