"""Supports and SBN probabilities against frozensets and an enumeration of every rooting."""

import numpy as np
import pytest
from reference import subsplit_networks

from vbpi_mix.errors import SupportError
from vbpi_mix.phylo.sbn import networks as sbn
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.sample import read_tree_sample
from vbpi_mix.phylo.trees.topology import canonicalise, enumerate_topologies, random_topologies


def random_logits(support, n_components, seed):
    return 1.5 * np.random.default_rng(seed).normal(size=(n_components, support.n_params))


@pytest.mark.parametrize("n_taxa", [4, 5, 6])
def test_probabilities_of_all_topologies_sum_to_one(n_taxa):
    topologies = enumerate_topologies(n_taxa)
    support = build_support(topologies)
    log_q = sbn.log_probability(random_logits(support, 4, n_taxa), support, support.encode(topologies))
    np.testing.assert_allclose(np.exp(log_q).sum(axis=0), 1.0, atol=1e-12)


@pytest.mark.parametrize(("n_taxa", "count"), [(5, 4), (7, 12), (70, 3)])
def test_support_is_that_of_every_rooting(n_taxa, count):
    topologies = random_topologies(n_taxa, count, np.random.default_rng(n_taxa))
    rootsplits, pcsps = subsplit_networks.support(topologies)
    support = build_support(topologies)
    assert support.n_splits == len(rootsplits)
    assert support.n_params == len(rootsplits) + len(pcsps)


def logits_by_name(support, topologies, logits):
    """The same logits keyed by frozensets, found by following each topology's own parameter numbers."""
    from vbpi_mix.phylo.sbn.kernels import encoding as kernels

    encoded = support.encode(topologies)
    everyone = frozenset(range(support.n_taxa))
    roots, pcsps = {}, {}
    for children, parameters in zip(encoded.children, encoded.parameters, strict=True):
        n = len(children) + 2
        clade = subsplit_networks.clades_below(children)
        for v in range(1, 2 * n - 2):
            roots[frozenset([clade[v], everyone - clade[v]])] = logits[parameters[v, kernels.ROOT]]
            if v >= n:
                halves = frozenset(clade[int(c)] for c in children[v - n])
                pcsps[everyone - clade[v], clade[v], halves] = logits[parameters[v, kernels.BELOW_ROOT]]
        for k, pair in enumerate(children):
            u, above = n + k, everyone - clade[n + k]
            for side in range(2):
                v, w = int(pair[side]), int(pair[1 - side])
                rest = everyone - clade[v]
                around = frozenset([clade[w], above])
                pcsps[clade[v], rest, around] = logits[parameters[v, kernels.ABOVE_ROOT]]
                if v >= n:
                    halves = frozenset(clade[int(c)] for c in children[v - n])
                    pcsps[clade[w], clade[v], halves] = logits[parameters[v, kernels.BELOW_SISTER]]
                    pcsps[above, clade[v], halves] = logits[parameters[v, kernels.BELOW_UP]]
                    a, b = (clade[int(c)] for c in children[v - n])
                    pcsps[a, rest, around] = logits[parameters[v, kernels.ABOVE_FIRST]]
                    pcsps[b, rest, around] = logits[parameters[v, kernels.ABOVE_SECOND]]
    assert u == 2 * n - 3
    return roots, pcsps


@pytest.mark.parametrize(("n_taxa", "count"), [(5, 3), (6, 5), (8, 6)])
def test_log_probability_equals_the_sum_over_rootings(n_taxa, count):
    """Also for topologies outside the support, whose log-probability is minus infinity."""
    rng = np.random.default_rng(n_taxa)
    topologies = random_topologies(n_taxa, count, rng)
    support = build_support(topologies)
    logits = random_logits(support, 1, 2)
    roots, pcsps = logits_by_name(support, topologies, logits[0])
    assert len(roots) + len(pcsps) == support.n_params
    tried = np.concatenate([topologies, random_topologies(n_taxa, 12, rng)])
    log_q = sbn.log_probability(logits, support, support.encode(tried))[:, 0]
    expected = [subsplit_networks.log_probability(children, roots, pcsps) for children in tried]
    assert np.isneginf(expected).any()
    np.testing.assert_allclose(log_q, expected, atol=1e-12)


def test_neighbours_never_seen_together_leave_the_other_rootings():
    """A topology made of known tripartitions has positive probability only where its PCSPs are known."""
    topologies = enumerate_topologies(6)
    some = topologies[::9]
    support = build_support(some)
    logits = random_logits(support, 1, 3)
    roots, pcsps = logits_by_name(support, some, logits[0])
    log_q = sbn.log_probability(logits, support, support.encode(topologies))[:, 0]
    expected = [subsplit_networks.log_probability(children, roots, pcsps) for children in topologies]
    np.testing.assert_allclose(log_q, expected, atol=1e-12)
    assert np.isfinite(expected).sum() > len(some)
    assert np.exp(log_q[np.isfinite(log_q)]).sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("n_taxa", [5, 6])
def test_sampled_frequencies_match_the_probabilities(n_taxa):
    topologies = enumerate_topologies(n_taxa)
    support = build_support(topologies)
    logits = random_logits(support, 2, 4)
    _, probabilities = sbn.normalise(logits, support)
    draws = 40_000
    uniforms = np.random.default_rng(5).random((draws, n_taxa - 1))
    encoded = sbn.draw_topologies(probabilities, support, np.ones(draws, np.int64), uniforms)
    canonical, _ = canonicalise(encoded.children)
    number = {children.tobytes(): k for k, children in enumerate(topologies)}
    counts = np.bincount([number[c.tobytes()] for c in canonical], minlength=len(topologies))
    p = np.exp(sbn.log_probability(logits, support, support.encode(topologies))[:, 1])
    # Chi-squared with 14 or 104 degrees of freedom: 5 standard deviations above its mean.
    statistic = ((counts - draws * p) ** 2 / (draws * p)).sum()
    freedom = len(topologies) - 1
    assert statistic < freedom + 5 * np.sqrt(2 * freedom)


def test_sampled_topologies_are_encoded_as_encode_does():
    topologies = random_topologies(15, 30, np.random.default_rng(6))
    support = build_support(topologies)
    _, probabilities = sbn.normalise(random_logits(support, 1, 7), support)
    uniforms = np.random.default_rng(8).random((200, 14))
    drawn = sbn.draw_topologies(probabilities, support, np.zeros(200, np.int64), uniforms)
    again = support.encode(drawn.children)
    for name in ("children", "splits", "tripartitions", "entries", "parameters", "rows"):
        np.testing.assert_array_equal(getattr(drawn, name)[:, 1:], getattr(again, name)[:, 1:], err_msg=name)


def test_simple_average_is_the_share_of_rootings():
    topologies = random_topologies(6, 5, np.random.default_rng(9))
    weights = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
    support = build_support(topologies)
    logits = sbn.fit_simple_average(support, support.encode(topologies), weights)
    roots, pcsps = logits_by_name(support, topologies, sbn.normalise(logits[None], support)[1][0])
    counted_roots, counted, parents = {}, {}, {}
    for children, weight in zip(topologies, weights, strict=True):
        for rootsplit, used in subsplit_networks.rootings(children):
            counted_roots[rootsplit] = counted_roots.get(rootsplit, 0) + weight / 9
            for pcsp in used:
                counted[pcsp] = counted.get(pcsp, 0) + weight
                parents[pcsp[:2]] = parents.get(pcsp[:2], 0) + weight
    for rootsplit, share in counted_roots.items():
        assert roots[rootsplit] == pytest.approx(share, abs=1e-12)
    for pcsp, count in counted.items():
        assert pcsps[pcsp] == pytest.approx(count / parents[pcsp[:2]], abs=1e-12)


def test_em_raises_the_likelihood_of_the_sample():
    topologies = enumerate_topologies(6)
    weights = np.random.default_rng(10).dirichlet(np.full(len(topologies), 0.2))
    support = build_support(topologies)
    encoded = support.encode(topologies)
    fits = []
    for logits in (sbn.fit_simple_average(support, encoded, weights), sbn.fit_em(support, encoded, weights)):
        fits.append(weights @ sbn.log_probability(logits[None], support, encoded)[:, 0])
    entropy = -(weights @ np.log(weights))
    assert fits[0] < fits[1] <= -entropy + 1e-9


def test_flat_groups_and_numbers_cover_every_parameter_once():
    support = build_support(random_topologies(9, 20, np.random.default_rng(11)))
    covered = np.concatenate([*(np.arange(a, b) for a, b in support.groups), support.alone])
    np.testing.assert_array_equal(np.sort(covered), np.arange(support.n_params))
    np.testing.assert_array_equal(support.twin[support.twin], np.arange(support.twin.size))
    np.testing.assert_array_equal(np.sort(support.root_parameter), support.n_splits + np.arange(support.legs.size))


def test_order_of_the_sample_does_not_matter():
    topologies = random_topologies(10, 25, np.random.default_rng(12))
    one, other = build_support(topologies), build_support(topologies[::-1])
    for name in ("split_bits", "legs", "port_start", "port_child", "group_start"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_support_of_two_ufboot_files_has_the_known_size(benchmark_data):
    """6,609 and 8,345 elements: counted for the same files by another program."""
    from vbpi_mix.phylo.data.alignment import read_alignment

    folder = benchmark_data / "DS1"
    taxa = read_alignment(folder / "DS1.nex").taxa
    files = [folder / "ufboot" / f"rep_{k}.ufboot.gz" for k in (1, 2)]
    assert build_support(read_tree_sample(files[:1], taxa).children).n_params == 6609
    assert build_support(read_tree_sample(files, taxa).children).n_params == 8345


def test_refusals():
    with pytest.raises(SupportError, match="at least one topology"):
        build_support(np.empty((0, 3, 2), np.int32))
    support = build_support(enumerate_topologies(5))
    with pytest.raises(SupportError, match="6 taxa do not fit a support of 5"):
        support.encode(enumerate_topologies(6))
