"""Every kernel once as plain Python, on tiny input: what the compiler hides (types, bounds, overflow) shows here.

Run with NUMBA_DISABLE_JIT=1. Each exercise holds what its kernels compute against an independent answer; the last test
reads the kernels from the sources, and fails for every one that no exercise has called.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import math
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from reference import branch_flows, gamma_density, jukes_cantor, reversible, subsplit_networks
from reference.held_posterior import HeldPosterior

import vbpi_mix
from vbpi_mix.errors import TreeError
from vbpi_mix.estimators import Estimator, draw_components
from vbpi_mix.gradients import RowGradient
from vbpi_mix.kernels.adam import LONG_ROW
from vbpi_mix.kernels.simd import LANES
from vbpi_mix.phylo import mixture as phylo_mixture
from vbpi_mix.phylo import tables
from vbpi_mix.phylo.branches import gamma as gamma_base
from vbpi_mix.phylo.branches import lognormal
from vbpi_mix.phylo.branches.base import make_base
from vbpi_mix.phylo.branches.flows import make_flow
from vbpi_mix.phylo.branches.kernels import gamma
from vbpi_mix.phylo.branches.kernels.gamma_function import gamma_tables
from vbpi_mix.phylo.data.alphabets import standard
from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models import likelihood, reversible_likelihood
from vbpi_mix.phylo.models.held import HeldPart
from vbpi_mix.phylo.models.kernels.gamma_rates import mean_rates
from vbpi_mix.phylo.models.likelihood import log_likelihoods_and_gradients, pack_patterns
from vbpi_mix.phylo.models.part import make_part
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.priors import ExponentialLengths, GammaDirichletLengths
from vbpi_mix.phylo.models.rates import Rates
from vbpi_mix.phylo.models.topology_prior import TopologyPrior
from vbpi_mix.phylo.sampling.chains import Chains, Kept
from vbpi_mix.phylo.sbn import interleaved as sbn_interleaved
from vbpi_mix.phylo.sbn import networks as sbn
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.files import read_tree_file
from vbpi_mix.phylo.trees.newick import Allowed, parse_newick
from vbpi_mix.phylo.trees.topology import (
    canonicalise,
    clade_bitsets,
    enumerate_topologies,
    random_topologies,
    unique_topologies,
)
from vbpi_mix.toy.funnel import PRIOR_STD, Funnel, decay_matrix
from vbpi_mix.toy.gaussians import GaussianMixture, _SampleAndScore
from vbpi_mix.training import adam

pytestmark = pytest.mark.skipif(
    not numba.config.DISABLE_JIT, reason="kernels as plain Python: run with NUMBA_DISABLE_JIT=1, as .ci/run does"
)

PACKAGE = Path(vbpi_mix.__file__).parent
POLICIES = {"kernel", "inner_kernel", "inline_kernel", "parallel_kernel"}
TAXA = ("one", "it's", "two words", "d")


def exercise_topologies(patch, folder):
    trees = enumerate_topologies(5)
    assert len(trees) == 3 * 5
    canonical, _ = canonicalise(trees[:, :, ::-1])
    np.testing.assert_array_equal(canonical, trees)
    unique, index = unique_topologies(np.concatenate([trees, trees[::-1]]))
    np.testing.assert_array_equal(unique[index], np.concatenate([trees, trees[::-1]]))
    assert len(unique) == 15
    for children, bits in zip(trees, clade_bitsets(trees), strict=True):
        for clade, word in zip(subsplit_networks.clades_below(children), bits[:, 0], strict=True):
            assert sum(1 << taxon for taxon in clade) == int(word)


def exercise_newick(patch, folder):
    children, lengths = parse_newick("((one:1e-1,'it''s':0.2)[a [comment]]:.5,two_words:3E+1,d:4);", TAXA)
    np.testing.assert_array_equal(children, [[2, 3], [1, 4]])
    np.testing.assert_allclose(lengths, [0.2, 30.0, 4.0, 0.5, 0.1], rtol=1e-15)


def exercise_tree_files(patch, folder):
    path = folder / "small.t"
    path.write_text(
        "#NEXUS\nbegin trees;\n translate 1 one, 2 'it''s', 3 two_words, 4 d;\n"
        " tree a = [&W 1/4] [&U] (1,2,(3,4));\n utree b = [&W 3e0] ((1,3),(2,4));\nend;\n"
    )
    file = read_tree_file(path, TAXA)
    np.testing.assert_array_equal(file.children, [[[2, 3], [1, 4]], [[1, 3], [4, 2]]])
    np.testing.assert_array_equal(file.weights, [0.25, 3.0])


def exercise_files_cut_short(patch, folder):
    """Compiled, an index beyond the end of the text reads whatever is there: here it is an error."""
    path, read = folder / "cut.t", 0
    tree = "(one[&a=1]:.1,'it''s':1e-9,(two_words:2,d:.5):3E+1);"
    text = f"#NEXUS\nbegin trees; utree * a = [&U] [&W 1/2] [x[y]] {tree}"
    for stop in range(1, len(text) + 1):
        for start in (0, 14, text.index("utree")):
            path.write_text(text[start:stop])
            with contextlib.suppress(TreeError):
                read += len(read_tree_file(path, TAXA).children)
    assert read > 0


def exercise_polytomies_and_pruning(patch, folder):
    path = folder / "star.nwk"
    path.write_text("((one:1,'it''s':2,two_words:3,d:4):5,x:6);" * 30)
    file = read_tree_file(path, TAXA, Allowed(np.random.default_rng(1), prune=True))
    assert {tree.tobytes() for tree in file.children} == {tree.tobytes() for tree in enumerate_topologies(4)}
    # The root, of which one side is left out, is no node; a new edge has length 0.
    np.testing.assert_array_equal(np.sort(file.lengths), [[0, 1, 2, 3, 4]] * 30)


def exercise_gamma_rates(patch, folder):
    rates, slopes = np.empty((2, 2, 2))
    mean_rates(np.array([1.0, 0.5]), rates, slopes)
    # Of an exponential variable: the mean below the median log 2 is 1 - log 2.
    np.testing.assert_allclose(rates[0], [1 - math.log(2), 1 + math.log(2)], rtol=1e-13)
    above, below = np.empty((2, 1, 2))
    mean_rates(np.array([0.5 + 1e-5]), above, np.empty((1, 2)))
    mean_rates(np.array([0.5 - 1e-5]), below, np.empty((1, 2)))
    np.testing.assert_allclose(slopes[1], (above - below)[0] / 2e-5, rtol=1e-7)


def exercise_networks(patch, folder):
    patch.setattr(numba, "get_num_threads", lambda: 2)
    patch.setattr(sbn, "PARALLEL_ROOTINGS", 200)
    trees = enumerate_topologies(5)
    support = build_support(trees[::4])
    known = [dict.fromkeys(part, 0.0) for part in subsplit_networks.support(trees[::4])]
    flat = sbn.log_probability(np.zeros((1, support.n_params)), support, support.encode(trees))[:, 0]
    expected = [subsplit_networks.log_probability(children, *known) for children in trees]
    assert np.isneginf(expected).any()
    np.testing.assert_allclose(flat, expected, atol=1e-12)

    support = build_support(trees)
    encoded = support.encode(trees)
    logits = np.random.default_rng(1).normal(size=(2, support.n_params))
    np.testing.assert_allclose(np.exp(sbn.log_probability(logits, support, encoded)).sum(axis=0), 1.0, atol=1e-12)
    sample = enumerate_topologies(6)[::5]
    weights = np.random.default_rng(2).dirichlet(np.full(len(sample), 0.2))
    support = build_support(sample)
    encoded = support.encode(sample)
    average, em = sbn.fit_simple_average(support, encoded, weights), sbn.fit_em(support, encoded, weights, iterations=5)
    fits = [weights @ sbn.log_probability(logits[None], support, encoded)[:, 0] for logits in (average, em)]
    assert fits[0] < fits[1] <= weights @ np.log(weights)


def exercise_draws(patch, folder):
    trees = random_topologies(7, 6, np.random.default_rng(3))
    support = build_support(trees)
    _, probabilities = sbn.normalise(np.random.default_rng(4).normal(size=(2, support.n_params)), support)
    drawn = sbn.draw_topologies(
        probabilities, support, np.arange(40) % 2, np.random.default_rng(5).random((40, 6))
    )
    again = support.encode(drawn.children)
    for name in ("children", "splits", "tripartitions", "entries", "parameters", "rows"):
        np.testing.assert_array_equal(getattr(drawn, name)[:, 1:], getattr(again, name)[:, 1:], err_msg=name)
    assert np.isfinite(sbn.log_probability(np.zeros((1, support.n_params)), support, again)).all()


def random_patterns(n_taxa, count, seed):
    rng = np.random.default_rng(seed)
    return SitePatterns(rng.integers(1, 16, (n_taxa, count)).astype(np.uint8), rng.integers(1, 4, count).astype(float))


def log_likelihood_twin(children, lengths, patterns):
    decays = np.exp(-4.0 / 3.0 * lengths)[None]
    return float(np.log(jukes_cantor.likelihoods_by_pruning(children, decays, patterns.states))[0] @ patterns.weights)


def exercise_likelihood(patch, folder):
    """A tree of 50 taxa, so that some of its nodes are rescaled. Two threads for each."""
    patch.setattr(numba, "get_num_threads", lambda: 2)
    patch.setattr(likelihood, "PARALLEL_WORK", 8 * 32)
    for n_taxa in (4, 50):
        patterns = random_patterns(n_taxa, 3, n_taxa)
        trees = random_topologies(n_taxa, 2, np.random.default_rng(6))
        lengths = np.random.default_rng(7).exponential(0.1, (2, 2 * n_taxa - 3))
        values, gradients = log_likelihoods_and_gradients(trees, lengths, pack_patterns(patterns))
        for t in range(2):
            assert values[t] == pytest.approx(log_likelihood_twin(trees[t], lengths[t], patterns), abs=1e-9)
            for edge in (0, n_taxa, 2 * n_taxa - 4):
                step = 1e-6 * np.eye(2 * n_taxa - 3)[edge]
                above, below = (log_likelihood_twin(trees[t], lengths[t] + s, patterns) for s in (step, -step))
                assert gradients[t, edge] == pytest.approx((above - below) / 2e-6, rel=1e-5, abs=1e-5)


def exercise_reversible_models(patch, folder):
    """Four states, fewer than a vector has lanes and more; a tree of 20 taxa, so that some of its nodes are rescaled; +ASC,
    whose constant patterns need every kernel once more, with two taxa that never share a state.
    """
    rng = np.random.default_rng(14)
    for states, n_taxa in ((4, 20), (3, 4), (9, 9)):
        frequencies, exchangeabilities = rng.dirichlet(np.full(states, 5.0)), rng.exponential(1.0, (states, states))
        matrix = reversible.reversible_matrix(frequencies, exchangeabilities + exchangeabilities.T)
        root = np.sqrt(frequencies)
        values, vectors = np.linalg.eigh(root[:, None] * matrix / root)
        columns = (vectors / root[:, None], vectors.T * root, values, frequencies, [0.4, 1.6], [0.3, 0.5], 0.2)
        rates = Rates(*(np.array([column]) for column in columns))
        sets = rng.integers(1, 1 << states, (n_taxa, 2)).astype(np.uint64)
        sets[:2] = [[1], [2]]
        patterns = SitePatterns(sets, np.array([1.0, 2.0]))
        packed = reversible_likelihood.pack(patterns, ascertainment=True, n_states=states)
        trees, lengths = random_topologies(n_taxa, 1, rng), rng.exponential(0.2, (1, 2 * n_taxa - 3))
        which = np.zeros(1, np.int64)
        found, slopes, of_model = reversible_likelihood.evaluate(trees, lengths, packed, rates, which)

        def value(lengths, rate, n_taxa=n_taxa, sets=sets, trees=trees, rest=(matrix, frequencies)):
            model = reversible.Model(*rest, np.array([0.4, rate]), np.array([0.3, 0.5]), 0.2)
            return reversible.log_likelihood(trees[0], lengths, sets, np.array([1.0, 2.0]), model, True)

        assert found[0] == pytest.approx(value(lengths[0], 1.6), abs=1e-9)
        step = 1e-6 * np.eye(2 * n_taxa - 3)[n_taxa]
        difference = value(lengths[0] + step, 1.6) - value(lengths[0] - step, 1.6)
        assert slopes[0, n_taxa] == pytest.approx(difference / 2e-6, rel=1e-5, abs=1e-6)
        difference = value(lengths[0], 1.6 + 1e-6) - value(lengths[0], 1.6 - 1e-6)
        assert of_model.rates[0, 1] == pytest.approx(difference / 2e-6, rel=1e-5, abs=1e-6)


def exercise_flows(patch, folder):
    trees = random_topologies(5, 5, np.random.default_rng(8))
    support = build_support(trees)
    encoded, rng = support.encode(trees), np.random.default_rng(9)
    for name, hidden, twin in (("planar", None, branch_flows.planar), ("realnvp", 3, branch_flows.realnvp)):
        flow = make_flow(name, support, torch.Generator().manual_seed(1), 3, hidden, torch.float64)
        state = {key: torch.from_numpy(0.2 * rng.normal(size=v.shape)) for key, v in flow.state_dict().items()}
        flow.load_state_dict(state)
        z = rng.normal(size=(5, 7))
        done = flow.forward(encoded.rows, z)
        for t in range(5):
            values, log_det = twin(state["weights"], state["biases"], encoded.rows[t], torch.from_numpy(z[t]))
            np.testing.assert_allclose(done.values[t], values.numpy(), atol=1e-9)
            assert done.log_det[t] == pytest.approx(log_det.item(), abs=1e-9)


def exercise_gamma(patch, folder):
    """One tree of three edges; the tables are computed anew, so that their kernels are called too."""
    gamma_tables.cache_clear()
    rng, tables = np.random.default_rng(13), gamma_tables()
    rows = np.array([[0, 1, 2], [3, 4, -1], [5, -1, -1]], np.int32)
    features, evaluated = rng.normal(size=(2, 6, 2)), np.arange(2)
    noise, of_draws, of_log_q = rng.normal(size=3), rng.normal(size=(1, 3)), rng.normal(size=(1, 2))

    def run(features):
        draws, slopes, log_q, scores = np.empty(3), np.empty(3), np.empty(2), np.empty((2, 3, 2))
        gamma.base_tree(rows, features, 1, evaluated, noise, tables, draws, slopes, log_q, scores)
        return draws, slopes, log_q, scores

    draws, slopes, log_q, scores = run(features)
    wanted = gamma_density.base_tree(rows, features, 1, evaluated, noise)
    np.testing.assert_allclose(draws, wanted[0], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(log_q, wanted[1], rtol=1e-6)
    for r, row, column in np.ndindex(features.shape):
        found = np.empty((6, 2))
        gamma.base_gradient(rows[None], np.array([1]), slopes[None], scores[None], of_draws, of_log_q, r, found)
        step = np.zeros_like(features)
        step[r, row, column] = 1e-5
        above, below = (of_draws[0] @ d + of_log_q[0] @ q for d, _, q, _ in (run(features + step), run(features - step)))
        assert found[row, column] == pytest.approx((above - below) / 2e-5, rel=1e-4, abs=1e-5)


def small_mixture(flow, base="lognormal", components=2, side_by_side=None):
    support = build_support(enumerate_topologies(4))
    generator, rng = torch.Generator().manual_seed(1), np.random.default_rng(10)
    made = make_flow(flow, support, generator, *{"none": (None, None), "planar": (2, None), "realnvp": (2, 3)}[flow])
    mixture = phylo_mixture.PhyloMixture(
        support, components, generator=generator, flow=made, base=make_base(base), side_by_side=side_by_side
    )
    with torch.no_grad():
        mixture.logits.copy_(torch.from_numpy(rng.normal(size=mixture.logits.shape)))
    return mixture


def exercise_mixture(patch, folder):
    """Gradients of a step against differences, of the whole step on one thread and of its parts on two."""
    for threads in (1, 2):
        patch.setattr(numba, "get_num_threads", lambda threads=threads: threads)
        patch.setattr(tables, "PARALLEL_PARTICLES", 1)
        patch.setattr(sbn, "PARALLEL_PARAMETERS", 1)
        patch.setattr(sbn_interleaved, "PARALLEL_WORK", 1)
        patch.setattr(lognormal.LogNormal, "parallel_trees", 1)
        patch.setattr(gamma_base.Gamma, "parallel_trees", 1)
        for flow in ("none", "planar", "realnvp"):
            check_gradients(small_mixture(flow))
        check_gradients(small_mixture("none", "gamma"))
        check_gradients(small_mixture("none", "gamma", LANES + 1, torch.float64))


def check_gradients(mixture):
    draw = draw_components(Estimator.parse("s2a"), mixture.n_components, 2, torch.Generator().manual_seed(2))

    def value():
        draws = mixture.sample(draw, 2, torch.Generator().manual_seed(3))
        parts = (draws.log_q, draws.log_q_score, draws.log_lengths)
        return sum((torch.linspace(-1.0, 2.0, part.numel(), dtype=part.dtype) * part.reshape(-1)).sum() for part in parts)

    value().backward()
    groups = mixture.parameter_groups()
    for parameter in groups[0]["params"] + groups[1]["params"]:
        for index in map(tuple, parameter.grad.nonzero()[:: 7 if mixture.n_components == 2 else 29].tolist()):
            with torch.no_grad():
                parameter[index] += 1e-6
                above = value().item()
                parameter[index] -= 2e-6
                below = value().item()
                parameter[index] += 1e-6
            assert parameter.grad[index].item() == pytest.approx((above - below) / 2e-6, rel=1e-5, abs=1e-6)


def exercise_target(patch, folder):
    mixture, patterns = small_mixture("none"), random_patterns(4, 3, 11)
    target = Posterior(patterns, branch_prior=ExponentialLengths(8.0))
    draw = draw_components(Estimator.parse("a2a"), 2, None, torch.Generator().manual_seed(4))
    with torch.no_grad():
        draws = mixture.sample(draw, 2, torch.Generator().manual_seed(5))
    evaluated = target.evaluate(draws)
    likelihood, prior = evaluated.log_likelihood, evaluated.log_prior
    x = draws.log_lengths.clone().requires_grad_()
    # A density of lengths becomes one of log-lengths by the derivative of the length, which is the length.
    density = (math.log(8.0) - 8.0 * x.exp() + x).sum(-1) + TopologyPrior(4).log_probability
    torch.testing.assert_close(prior, density.detach(), rtol=1e-12, atol=1e-12)
    children = draws.topologies.children
    for t, (lengths, found) in enumerate(zip(x.detach().exp().reshape(4, 5).numpy(), likelihood.reshape(4), strict=True)):
        expected = jukes_cantor.log_likelihood_by_summation(children[t], lengths, patterns.states, patterns.weights)
        assert found.item() == pytest.approx(expected, abs=1e-10)
    density.sum().backward()
    found = evaluated.pull_back(torch.zeros_like(likelihood), torch.ones_like(prior)).points
    np.testing.assert_allclose(found, x.grad.reshape(4, 5).numpy(), rtol=1e-10)
    compound = GammaDirichletLengths(2.0, 4.0, 1.5, 0.5)
    evaluated = Posterior(patterns, branch_prior=compound).evaluate(draws)
    logs = x.detach().reshape(4, 5).numpy()
    expected = compound.log_density(logs, np.exp(logs)) + compound.log_constant(5) + TopologyPrior(4).log_probability
    np.testing.assert_allclose(evaluated.log_prior.reshape(4), expected, rtol=1e-12)
    found = evaluated.pull_back(torch.zeros_like(likelihood), torch.ones_like(prior)).points
    np.testing.assert_allclose(found, compound.log_length_slopes(np.exp(logs)), rtol=1e-10)


def exercise_sampler(patch, folder):
    """Log-likelihoods that chains carry along, against pruning of the trees that they keep."""
    patterns = random_patterns(5, 3, 12)
    constrained = TopologyPrior.of(5, [frozenset({1, 2})])
    for priors in ({}, {"branch_prior": GammaDirichletLengths(2.0, 4.0, 1.5, 0.5), "topology_prior": constrained}):
        target = Posterior(patterns, **priors)
        chains = Chains(target, 2, 2, 0.2, 0.5, 5, 1)
        kept = Kept(chains, 8)
        with ThreadPoolExecutor(1) as pool:
            chains.advance(8, kept, pool)
        assert kept.count == 8
        assert (chains.state.counters.sum(axis=(0, 1)).reshape(3, 2) > 0).all()
        assert target.topology_prior.allows(kept.trees.children.reshape(-1, 3, 2)).all()
        for run, chain, tree in np.ndindex(kept.trees.log_likelihood.shape):
            at = run, chain, tree
            expected = log_likelihood_twin(kept.trees.children[at], kept.trees.lengths[at], patterns)
            assert kept.trees.log_likelihood[at] == pytest.approx(expected, abs=1e-8)


def exercise_sampler_of_models(patch, folder):
    """The same under models held at their parameters: of nucleotides, and of characters of five states that all vary."""
    alphabet = standard("01234")
    characters = SitePatterns(np.array([[1, 2], [2, 31], [4, 4], [9, 8], [16, 2]], np.uint8), np.array([1.0, 2.0]), alphabet)
    texts = {"HKY{2.5}+F{0.1,0.2,0.3,0.4}+I{0.2}+G2{0.5}": random_patterns(5, 2, 12), "MK+ASC": characters}
    parts = [
        HeldPart(patterns, make_part(text, patterns).rates(np.empty((1, 0))), text.endswith("+ASC"))
        for text, patterns in texts.items()
    ]
    parts[0].patterns.states[:, 0] = 2
    posterior = HeldPosterior(parts)
    chains = Chains(posterior, 1, 1, 0.0, 0.5, 2, 1)
    kept = Kept(chains, 6)
    with ThreadPoolExecutor(1) as pool:
        chains.advance(6, kept, pool)
    assert (chains.state.counters.sum(axis=(0, 1)).reshape(3, 2)[:, 0] > 0).all()
    assert len({tree.tobytes() for tree in kept.trees.children[0, 0]}) > 1
    for tree in range(6):
        expected = posterior.twin(kept.trees.children[0, 0, tree], kept.trees.lengths[0, 0, tree])
        assert kept.trees.log_likelihood[0, 0, tree] == pytest.approx(expected, rel=1e-10)


def exercise_toy(patch, folder):
    generator = torch.Generator().manual_seed(6)
    means, log_variances, noise = (
        torch.randn(*shape, 2, generator=generator, dtype=torch.float64) for shape in ((3,), (3,), (2, 4))
    )
    mixture = GaussianMixture(3, lambda A: (means.clone(), log_variances.clone()))
    assert mixture.n_components == 3
    sampled, evaluated = torch.tensor([2, 0]), torch.arange(3)
    deviations = (0.5 * log_variances).exp()
    z, log_q = _SampleAndScore.apply(means, log_variances, noise, sampled, evaluated)
    torch.testing.assert_close(z, means[sampled, None] + noise * deviations[sampled, None])
    expected = torch.distributions.Normal(means, deviations).log_prob(z[:, :, None]).sum(-1)
    torch.testing.assert_close(log_q, expected)
    leaves = means.requires_grad_(), log_variances.requires_grad_()
    assert torch.autograd.gradcheck(lambda m, v: _SampleAndScore.apply(m, v, noise, sampled, evaluated), leaves)

    pixels = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
    weights = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.3, -0.7]], dtype=torch.float64)
    funnel, z = Funnel(pixels, weights), torch.randn(4, 2, generator=generator, dtype=torch.float64)
    logits = z[:, None] @ weights + pixels @ decay_matrix(3)
    likelihood = -torch.nn.functional.binary_cross_entropy_with_logits(logits, pixels.expand(4, 2, 3), reduction="none")
    torch.testing.assert_close(funnel.log_likelihood_at(z), likelihood.sum((1, 2)))
    first, second = torch.distributions.Normal(0.0, PRIOR_STD), torch.distributions.Normal(0.0, (0.25 * z[:, 0]).exp())
    torch.testing.assert_close(funnel.log_prior_at(z), first.log_prob(z[:, 0]) + second.log_prob(z[:, 1]))
    assert torch.autograd.gradcheck(funnel.log_joint, [z.requires_grad_()])


def exercise_adam(patch, folder):
    """Steps that touch every row of a tensor are those of torch's own Adam, in whichever way the rows are gone through."""
    patch.setattr(numba, "get_num_threads", lambda: 2)
    for elements, columns in ((1, 3), (1000, 3), (1000, LONG_ROW), (1, LANES), (1000, LANES)):
        patch.setattr(adam, "PARALLEL_ELEMENTS", elements)
        whole, by_row, own = (torch.ones(2, columns, dtype=torch.float64, requires_grad=True) for _ in range(3))
        ours = adam.KernelAdam([{"params": [whole]}, {"params": [by_row], "by_row": True, "vectors": columns == LANES}])
        ours.set_learning_rate(0.1)
        theirs = torch.optim.Adam([own], lr=0.1)
        for step in range(4):
            gradient = torch.randn(2, columns, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
            whole.grad, own.grad = gradient.clone(), gradient.clone()
            ours.step({by_row: RowGradient(np.array([1, 0]), gradient.numpy()[::-1].copy())})
            theirs.step()
        torch.testing.assert_close(whole, own, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(by_row, own, rtol=1e-12, atol=1e-12)


EXERCISES = {
    name.removeprefix("exercise_"): function for name, function in list(globals().items()) if name.startswith("exercise_")
}


@contextlib.contextmanager
def recorded(called):
    """Add what Python calls of the package, in any thread, to `called`: (file, function)."""
    prefix = f"{PACKAGE}/"

    def note(frame, event, argument):
        if event == "call" and frame.f_code.co_filename.startswith(prefix):
            called.add((frame.f_code.co_filename.removeprefix(prefix), frame.f_code.co_name))

    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)
        threading.setprofile(None)


@pytest.fixture(scope="module")
def calls_of(tmp_path_factory):
    """calls_of(exercise) -> what it calls; each runs once."""

    @functools.cache
    def run(name):
        called = set()
        with pytest.MonkeyPatch.context() as patch, recorded(called):
            EXERCISES[name](patch, tmp_path_factory.mktemp(name))
        return called

    return run


def kernels():
    """(file, function) of everything that is decorated as a kernel, and of the vectors' plain functions."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and POLICIES & {ast.unparse(d) for d in node.decorator_list}:
                yield name, node.name
        if name == "kernels/simd.py":
            (choice,) = (node for node in tree.body if isinstance(node, ast.If))
            yield from ((name, node.name) for node in choice.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("name", EXERCISES)
def test_exercise(name, calls_of):
    assert calls_of(name)


def test_every_kernel_is_called(calls_of):
    called = set().union(*(calls_of(name) for name in EXERCISES))
    missed = sorted(set(kernels()) - called)
    assert not missed, f"no exercise calls {', '.join(f'{file}: {function}' for file, function in missed)}"
