"""Likelihoods on a CUDA device against those of the processor's kernels, which have independent answers of their own.

Where numba finds no device, its simulator stands in for one: this file runs once more in a process that has it.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numba
import numpy as np
import pytest
import torch

from vbpi_mix.errors import ConfigError
from vbpi_mix.gradients import RowGradient
from vbpi_mix.phylo.config import FitConfig
from vbpi_mix.phylo.data.alphabets import DNA, PROTEIN
from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.fit import begin
from vbpi_mix.phylo.inputs import say_nothing
from vbpi_mix.phylo.models import reversible_likelihood
from vbpi_mix.phylo.models.characters import CharacterModel, CharacterPart
from vbpi_mix.phylo.models.device import check_device
from vbpi_mix.phylo.models.jukes_cantor import _RATES, JukesCantor
from vbpi_mix.phylo.models.part import make_part
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.rates import Rates
from vbpi_mix.phylo.models.reversible import spectrum
from vbpi_mix.phylo.trees.topology import random_topologies

SIMULATED = getattr(numba.config, "ENABLE_CUDASIM", False)

if SIMULATED:
    from numba.cuda.simulator.kernelapi import FakeCUDAShared

    # Of the simulator's threads, one waits for the others by asking without end: it is to give way at once.
    sys.setswitchinterval(1e-5)
    LOCK = threading.Lock()

    def shared_array(self, shape, dtype):
        """The simulator's own lets two threads that come at once have two arrays."""
        caller = sys._getframe(1)
        with LOCK:
            return self._allocations.setdefault((caller.f_code, caller.f_lineno), np.empty(shape, dtype))

    FakeCUDAShared.array = shared_array


def has_cuda():
    """Whether there is a device, or its simulator."""
    try:
        check_device("cuda")
    except ConfigError:
        return False
    return True


HAS_CUDA = has_cuda()
on_device = pytest.mark.skipif(not HAS_CUDA, reason="no CUDA device; these tests run in its simulator")
without_device = pytest.mark.skipif(HAS_CUDA, reason="there is a CUDA device")


@without_device
def test_all_of_this_in_the_simulator():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", __file__]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        command, env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}, cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def made_up(n, size, trees, rng):
    """State sets [n, P], weights, topologies and lengths, some edges nearly of no length."""
    sets = (1 << rng.integers(0, 4, (n, size))).astype(np.uint8)
    sets[:, ::4] = sets[0, ::4]
    sets[rng.random((n, size)) < 0.2] |= 5
    sets[rng.random((n, size)) < 0.1] = 15
    lengths = rng.exponential(0.2, (trees, 2 * n - 3))
    lengths[:, 1] = 1e-9
    return SitePatterns(sets, rng.integers(1, 5, size).astype(float), DNA), random_topologies(n, trees, rng), lengths


def random_rates(vectors, categories, invariant, rng):
    """Rates of so many parameter vectors."""
    frequencies = rng.dirichlet(np.full(4, 3.0), vectors)
    parts = spectrum(*(lambda s: (s + s.transpose(0, 2, 1), frequencies))(rng.exponential(1.0, (vectors, 4, 4))))
    weights = (1.0 - invariant) * rng.dirichlet(np.full(categories, 4.0), vectors)
    return Rates(*parts, frequencies, rng.gamma(2.0, 0.5, (vectors, categories)), weights, np.full(vectors, invariant))


def check_close(found, expected, tolerance=1e-10):
    """Within the tolerance of the largest."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def check_same(patterns, children, lengths, rates, which, ascertainment=False):
    """Values and all slopes of both devices; returns the values."""
    both = [
        reversible_likelihood.evaluate(
            children, lengths, reversible_likelihood.pack(patterns, ascertainment, device=device), rates, which
        )
        for device in ("cuda", "cpu")
    ]
    (values, lengths_slopes, slopes), (expected, expected_lengths, expected_slopes) = both
    check_close(values, expected)
    check_close(lengths_slopes, expected_lengths)
    for found, wanted in zip(slopes, expected_slopes, strict=True):
        check_close(found, wanted)
    return values


@on_device
# Several strips of patterns, and each of +G, +I and +ASC; under the last, no pattern may be constant.
@pytest.mark.parametrize(("n", "size", "categories", "invariant", "varying"), [(4, 17, 2, 0.3, False), (4, 7, 1, 0.0, True)])
def test_values_and_all_slopes_are_those_of_the_processor(n, size, categories, invariant, varying):
    rng = np.random.default_rng(1)
    patterns, children, lengths = made_up(n, size, 2, rng)
    if varying:
        patterns.states[0], patterns.states[1] = 1, 2
    rates = random_rates(2, categories, invariant, rng)
    check_same(patterns, children, lengths, rates, np.array([1, 0]), ascertainment=varying)


@on_device
def test_rescaled_partials_leave_values_and_slopes_as_they_are():
    rng = np.random.default_rng(2)
    patterns, children, lengths = made_up(34, 3, 1, rng)
    values = check_same(patterns, children, lengths, random_rates(1, 1, 0.1, rng), np.zeros(1, np.int64))
    assert values[0] < -100


@on_device
def test_impossible_data_have_no_likelihood_and_no_slopes():
    rng = np.random.default_rng(3)
    patterns, children, lengths = made_up(4, 2, 1, rng)
    patterns.states[:] = np.array([[1], [2], [4], [8]])
    packed = reversible_likelihood.pack(patterns, device="cuda")
    values, slopes, of_model = reversible_likelihood.evaluate(
        children, 0.0 * lengths, packed, random_rates(1, 1, 0.0, rng), np.zeros(1, np.int64)
    )
    assert values[0] == -np.inf
    assert not slopes.any()
    assert not any(array.any() for array in of_model)


@on_device
def test_what_memory_holds_at_once_changes_nothing_and_too_little_is_said(monkeypatch):
    from vbpi_mix.phylo.models.gpu import likelihood

    rng = np.random.default_rng(4)
    patterns, children, lengths = made_up(4, 5, 3, rng)
    rates, which = random_rates(3, 1, 0.2, rng), np.arange(3)
    found = []
    for rows in (3, 2, 1, 0):
        monkeypatch.setattr(likelihood, "_MOST_BLOCKS", rows)
        packed = reversible_likelihood.pack(patterns, device="cuda")
        if rows == 0:
            with pytest.raises(ConfigError, match="one tree of 4 taxa and 5 patterns takes"):
                reversible_likelihood.log_likelihoods(children, lengths, packed, rates, which)
        else:
            found.append(reversible_likelihood.log_likelihoods(children, lengths, packed, rates, which))
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


@on_device
def test_parts_with_a_protein_among_them_have_the_slopes_of_the_processor():
    rng = np.random.default_rng(5)
    parts = []
    for name, text in (("one", "HKY"), ("two", "K80"), ("three", "LG")):
        patterns, children, lengths = made_up(4, 3, 2, rng)
        if text == "LG":
            patterns = SitePatterns(np.uint32(1) << rng.integers(0, 20, (4, 3)).astype(np.uint32), patterns.weights, PROTEIN)
        parts.append(CharacterPart(name, patterns, make_part(text, patterns)))
    model = CharacterModel(parts)
    theta = model.start() + np.array([[0.0], [0.1]])
    expected = model.evaluate(children, lengths, theta)
    model.to("cuda")
    found = model.evaluate(children, lengths, theta)
    check_close(found.values, expected.values)
    check_close(found.length_slopes, expected.length_slopes)
    check_close(found.parameter_slopes["theta"], expected.parameter_slopes["theta"])
    check_close(model.log_likelihoods(children, lengths, theta), expected.values)


@on_device
def test_a_posterior_under_jc69_moves_to_the_device_and_back():
    rng = np.random.default_rng(6)
    patterns, children, lengths = made_up(5, 6, 1, rng)
    posterior = Posterior(patterns)
    draws = np.log(lengths)
    expected = posterior.log_joint(children, draws), posterior.log_joint_slopes(children, draws), posterior.work
    posterior.to("cuda")
    check_close(posterior.log_joint(children, draws), expected[0])
    check_close(posterior.log_joint_slopes(children, draws), expected[1])
    assert posterior.work == expected[2]
    posterior.to("cpu")
    np.testing.assert_array_equal(posterior.log_joint(children, draws), expected[0])


@on_device
def test_a_protein_alone_has_no_place_on_the_device():
    patterns = SitePatterns(np.uint32(1) << np.arange(4, dtype=np.uint32)[:, None], np.ones(1), PROTEIN)
    model = CharacterModel([CharacterPart("all", patterns, make_part("LG", patterns))])
    with pytest.raises(ConfigError, match="it has kernels of four states, and no part has these"):
        model.to("cuda")


FILES = {"four.fasta": ">a\nACGTAC\n>b\nACGTCC\n>c\nACGAAC\n>d\nTCGTAG\n", "tree.nwk": "(a:0.1,b:0.2,(c:0.3,d:0.1):0.2);\n"}


@pytest.fixture
def four(tmp_path, monkeypatch):
    """A folder with an alignment of four taxa and a tree."""
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@on_device
@pytest.mark.parametrize("model", ["JC69", "HKY{2.5}+F+I{0.1}+G2{0.45}"])
def test_loglik_says_the_same_on_both_devices(run, four, model):
    found = [
        run("loglik", "four.fasta", "tree.nwk", "--model", model, *device) for device in ((), ("--device", "cuda"))
    ]
    assert [each.status for each in found] == [0, 0]
    assert found[0].out == found[1].out


@on_device
def test_a_fit_on_the_device_has_the_bound_and_slopes_of_one_on_the_processor(four):
    choices = {"components": 1, "particles": 2, "init": "flat", "threads": 1}
    found = []
    for device in ("cpu", "cuda"):
        made = begin("four.fasta", "tree.nwk", device, False, FitConfig.of(device=device, **choices), say_nothing)
        assert made.problem.posterior.model.device == device
        objective = made.problem.objective(1, 1.0, torch.Generator().manual_seed(1))
        slopes = [each.values if isinstance(each, RowGradient) else each for each in objective.backward().values()]
        found.append([objective.bound.numpy(), *(np.asarray(each) for each in slopes)])
        made.directory.discard()
    assert any(each.any() for each in found[0][1:])
    for each, expected in zip(found[1], found[0], strict=True):
        np.testing.assert_allclose(each, expected, rtol=1e-9, atol=1e-12)


@without_device
@pytest.mark.parametrize("command", [("loglik", "four.fasta", "tree.nwk"), ("fit", "four.fasta", "--trees", "tree.nwk")])
def test_a_device_that_is_not_there_is_one_line_and_nothing_is_written(run, four, command):
    line = run(*command, "--device", "cuda").error_line()
    assert "--device cuda: numba finds no CUDA device here; leave it out, or install" in line
    assert sorted(path.name for path in four.iterdir()) == sorted(FILES)


@without_device
def test_a_run_is_not_resumed_on_a_device_that_is_not_there(run, four):
    fit = ("fit", "four.fasta", "--trees", "tree.nwk", "--iterations", 1, "--init", "flat", "--threads", 1, "--answer-draws", 50)
    assert run(*fit, "--quiet").status == 0
    before = {path.name: path.read_bytes() for path in (four / "four.vbpi").iterdir()}
    line = run("fit", "--resume", "four.vbpi", "--iterations", 2, "--device", "cuda").error_line()
    assert "numba finds no CUDA device here" in line
    assert {path.name: path.read_bytes() for path in (four / "four.vbpi").iterdir()} == before


def test_jc69_as_a_reversible_model_is_jc69():
    """The parameters that a device gets stand for the kernels of JC69."""
    p = (_RATES.vectors[0] * np.exp(0.3 * _RATES.values[0])) @ _RATES.inverse[0]
    np.testing.assert_allclose(p, JukesCantor().transition_matrices(0.3), rtol=1e-13)
