"""Base densities of branch lengths, whichever there are."""

import numpy as np
import pytest
import torch

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.branches.base import BASES, EdgeBatch, make_base


@pytest.mark.parametrize("name", BASES)
def test_summaries_are_those_of_many_draws(name):
    """Median and mean length and the sd of the log-length of three edges, each with a feature of its own."""
    base, trees = make_base(name), 200_000
    generator = torch.Generator().manual_seed(1)
    features = base.initial_features(3, 1, generator).detach().numpy()
    features[0, :, 0] += [-1.0, 0.4, 0.0]
    features[0, :, 1] += [-0.5, 0.2, -2.0]
    rows = np.full((trees, 3, 3), -1, np.int32)
    rows[..., 0] = [0, 1, 2]
    batch = EdgeBatch(rows, np.array([0]), np.zeros(trees, np.int64), 1)
    log_lengths = base.sample(features, batch, base.noise(trees, 3, generator)).draws + base.shift
    lengths, said = np.exp(log_lengths), base.summaries(features[0])
    assert set(said) == {"median", "mean", "log_sd"}
    assert all(value.shape == (3,) for value in said.values())
    # Half of the draws are below the median; each share has a standard error of 0.5 / sqrt(trees).
    below = (lengths < said["median"]).mean(0)
    np.testing.assert_allclose(below, 0.5, atol=4 * 0.5 / trees**0.5)
    error = lengths.std(0) / trees**0.5
    assert (np.abs(lengths.mean(0) - said["mean"]) < 4 * error).all()
    deviations = log_lengths - log_lengths.mean(0)
    variance = said["log_sd"] ** 2
    error = (deviations**2).std(0) / trees**0.5
    assert (np.abs((deviations**2).mean(0) - variance) < 4 * error).all()
    several = base.summaries(np.tile(features, (2, 1, 1)))
    assert all(np.array_equal(several[key], np.stack([said[key]] * 2)) for key in said)


def test_an_unknown_base_density_is_refused():
    with pytest.raises(ConfigError, match="give gamma or lognormal"):
        make_base("cauchy")
