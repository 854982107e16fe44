"""The same digits from a process that compiles the kernels and from one that loads them.

A process that compiles a kernel calls the kernels inside it as they were compiled on their own; one that loads it calls the
copies that were compiled along with it, and the compiler has gone over those once more.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

SCRIPT = """
import sys
import numpy as np
from vbpi_mix.phylo.kernels import particles
from vbpi_mix.phylo.trees.topology import random_topologies

rng = np.random.default_rng(1)
n, trees, components, size = 27, 30, 3, 900
starts = np.cumsum(rng.integers(2, 40, 40))
groups = np.stack([starts[:-1], starts[1:]], axis=1)
groups = groups[groups[:, 1] <= size]
table = rng.random((components, size))
networks = particles.Networks(np.log(table), table, np.arange(components), groups, np.arange(2))
done = particles.TopologyPass(
    component=np.zeros(trees, np.int64), uniforms=np.empty((trees, n - 1)), children=random_topologies(n, trees, rng),
    splits=np.empty((trees, 2 * n - 2), np.int32), tripartitions=np.empty((trees, 1), np.int32),
    entries=np.empty((trees, 1), np.int32), parameters=rng.integers(-1, size, (trees, 2 * n - 2, 7)).astype(np.int32),
    rows=np.empty((trees, 1, 3), np.int32), log_q=np.empty((trees, components)),
    rooting=rng.dirichlet(np.ones(2 * n - 2), (trees, components)),
)
logits = np.empty((components, size))
particles.gradients(networks, done, rng.normal(size=(trees, components)), logits)
np.save(sys.argv[1], logits)
hits = particles.gradients.stats.cache_hits
print(sum(hits.values()))
"""


def test_kernels_give_the_same_digits_compiled_and_loaded(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    found = []
    for name, loaded in (("compiled", "0"), ("loaded", "1")):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / f"{name}.npy")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == loaded
        found.append(np.load(tmp_path / f"{name}.npy"))
    assert np.isfinite(found[0]).all()
    assert np.count_nonzero(found[0]) > 500
    np.testing.assert_array_equal(*found)
