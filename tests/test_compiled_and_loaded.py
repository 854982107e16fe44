"""The same digits from a process that compiles the kernels and from one that loads them.

A process that compiles a kernel calls the kernels inside it as they were compiled on their own; one that loads it calls the
copies that were compiled along with it, and the compiler has gone over those once more.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

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


LIKELIHOODS = """
import sys
import numpy as np
from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models.rates import Rates
from vbpi_mix.phylo.models.reversible_likelihood import evaluate, pack
from vbpi_mix.phylo.trees.topology import random_topologies

rng = np.random.default_rng(2)
n, found = 30, []
trees, lengths = random_topologies(n, 3, rng), rng.exponential(0.1, (3, 2 * n - 3))
for states in (4, 20):
    frequencies, q = rng.dirichlet(np.full(states, 5.0)), rng.exponential(1.0, (states, states))
    q = (q + q.T) * frequencies
    q -= np.diag(q.sum(axis=1))
    root = np.sqrt(frequencies)
    values, vectors = np.linalg.eigh(root[:, None] * q / root)
    columns = (vectors / root[:, None], vectors.T * root, values, frequencies, [0.2, 0.9, 1.9], [0.3, 0.3, 0.3], 0.1)
    sets = np.uint64(1) << rng.integers(0, states, (n, 90)).astype(np.uint64)
    packed = pack(SitePatterns(sets, np.ones(90)), n_states=states)
    arrays = evaluate(trees, lengths, packed, Rates(*(np.array([x]) for x in columns)), np.zeros(3, int))
    found += [x.ravel() for x in (arrays[0], arrays[1], *arrays[2])]
np.save(sys.argv[1], np.concatenate(found))
from vbpi_mix.phylo.models.kernels import any_states, four_states
hits = [sum(module.evaluate_batch.stats.cache_hits.values()) for module in (four_states, any_states)]
print(min(hits))
"""


@pytest.mark.parametrize("script", [SCRIPT, LIKELIHOODS], ids=["networks", "likelihoods"])
def test_kernels_give_the_same_digits_compiled_and_loaded(tmp_path, script):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    found = []
    for name, loaded in (("compiled", "0"), ("loaded", "1")):
        command = [sys.executable, "-c", script, str(tmp_path / f"{name}.npy")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == loaded
        found.append(np.load(tmp_path / f"{name}.npy"))
    assert np.isfinite(found[0]).all()
    assert np.count_nonzero(found[0]) > 500
    np.testing.assert_array_equal(*found)
