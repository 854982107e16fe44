"""Split frequencies of samples and, exactly, of SBNs; what is computed from them."""

import numpy as np
import pytest
import reference_diagnostics as reference
import torch

from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.sbn.splits import (
    SplitFrequencies,
    average_standard_deviation,
    largest_difference,
    sbn_split_frequencies,
    split_frequencies,
    unite,
)
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.sample import expand_paths, read_tree_sample
from vbpi_mix.phylo.trees.topology import enumerate_topologies, parse_newick, random_topologies

TAXA = ("a", "b", "c", "d", "e")


def trees(*texts, taxa=TAXA):
    return np.stack([parse_newick(text, taxa)[0] for text in texts])


def as_dict(found):
    """{set of taxa: frequency}."""
    bits = [sum(int(word) << (64 * k) for k, word in enumerate(row)) for row in found.bits]
    sides = [frozenset(k for k in range(found.n_taxa) if bit >> k & 1) for bit in bits]
    return dict(zip(sides, found.frequencies, strict=True))


def test_two_trees_by_hand():
    found = split_frequencies(trees("((a,b),c,(d,e));", "((a,c),b,(d,e));"), np.array([3.0, 1.0]))
    assert as_dict(found) == {frozenset({3, 4}): 1.0, frozenset({2, 3, 4}): 0.75, frozenset({1, 3, 4}): 0.25}


@pytest.mark.parametrize("n_taxa", [4, 7, 20, 64, 65, 130])
def test_against_sets(n_taxa):
    rng = np.random.default_rng(n_taxa)
    children = random_topologies(n_taxa, 30, rng)
    weights = rng.random(30)
    found = split_frequencies(children, weights)
    expected = reference.split_frequencies(children.tolist(), weights.tolist())
    assert as_dict(found) == pytest.approx(expected)
    assert found.frequencies.sum() == pytest.approx(n_taxa - 3)


def test_order_and_numbering_of_the_trees_do_not_matter():
    rng = np.random.default_rng(5)
    children, weights = random_topologies(12, 200, rng), rng.random(200)
    order = rng.permutation(200)
    one = split_frequencies(children, weights)
    other = split_frequencies(children[order][:, :, ::-1], 7 * weights[order])
    np.testing.assert_array_equal(one.bits, other.bits)
    np.testing.assert_allclose(one.frequencies, other.frequencies, rtol=1e-12)


def test_three_taxa_have_no_internal_split():
    found = split_frequencies(trees("(a,b,c);", taxa=TAXA[:3]), np.ones(1))
    table = unite(found, found)
    assert len(found) == 0
    assert average_standard_deviation(table) == 0.0
    assert largest_difference(table) == (0.0, -1)
    assert table.members(TAXA[:3]) == []


def test_trees_of_no_weight_bring_no_split():
    found = split_frequencies(trees("((a,b),c,(d,e));", "((a,c),b,(d,e));"), np.array([1.0, 0.0]))
    assert len(found) == 2


# Sets side by side


def test_asdsf_by_hand():
    """|difference| / sqrt(2) for two sets: (0 + 0.2 + 0.3) / sqrt(2) / 3; 0.08 does not count."""
    bits = np.array([[0b0110], [0b1100], [0b1010], [0b11000]], dtype=np.uint64)
    first = SplitFrequencies(5, bits, np.array([1.0, 0.5, 0.3, 0.08]))
    second = SplitFrequencies(5, bits[:2], np.array([1.0, 0.3]))
    table = unite(first, second)
    assert average_standard_deviation(table) == pytest.approx(0.5 / np.sqrt(2) / 3)
    assert average_standard_deviation(table, 0.05) == pytest.approx(0.58 / np.sqrt(2) / 4)
    difference, at = largest_difference(table)
    assert difference == pytest.approx(0.3)
    assert table.bits[at] == 0b1010


@pytest.mark.parametrize("sets", [2, 3, 5])
def test_asdsf_against_sets(sets):
    rng = np.random.default_rng(sets)
    found, expected = [], []
    for _ in range(sets):
        children, weights = random_topologies(6, 12, rng), rng.random(12)
        found.append(split_frequencies(children, weights))
        expected.append(reference.split_frequencies(children.tolist(), weights.tolist()))
    table = unite(*found)
    assert average_standard_deviation(table) == pytest.approx(reference.asdsf(expected, 0.1))
    assert average_standard_deviation(unite(*found[::-1])) == pytest.approx(average_standard_deviation(table))
    differences = {
        split: np.ptp([each.get(split, 0.0) for each in expected]) for split in set().union(*expected)
    }
    assert largest_difference(table)[0] == pytest.approx(max(differences.values()))


def test_frequencies_at_the_threshold_count_however_they_were_summed():
    """0.1 as 1 - 0.9 is below 0.1 in floating point."""
    children = trees("((a,b),c,(d,e));", "((a,c),b,(d,e));")
    one = split_frequencies(children, np.array([0.9, 1 - 0.9]))
    assert one.frequencies.min() < 0.1
    assert unite(one, one).frequent().all()


def test_identical_sets_do_not_differ():
    rng = np.random.default_rng(9)
    found = split_frequencies(random_topologies(9, 50, rng), rng.random(50))
    table = unite(found, found, found)
    assert average_standard_deviation(table) == pytest.approx(0, abs=1e-15)
    assert largest_difference(table)[0] == 0.0


def test_members_are_the_smaller_side():
    found = split_frequencies(
        trees("((a,b),(c,d),(e,f));", "(a,(b,c),(d,(e,f)));", taxa=(*TAXA, "f")), np.ones(2)
    )
    members = unite(found).members((*TAXA, "f"))
    assert sorted(members) == [("a", "b"), ("b", "c"), ("c", "d"), ("d", "e", "f"), ("e", "f")]


def test_members_of_more_taxa_than_a_word_holds():
    taxa = [f"t{k}" for k in range(70)]
    nested = "t0"
    for k in range(1, 69):
        nested = f"({nested},t{k})"
    found = unite(split_frequencies(trees(f"({nested},t69);", taxa=taxa), np.ones(1)))
    expected = [{f"t{k}" for k in range(size)} if size < 35 else {f"t{k}" for k in range(size, 70)} for size in range(2, 69)]
    assert sorted(map(sorted, found.members(taxa))) == sorted(map(sorted, expected))


# SBNs


def random_mixture(n_taxa, topologies, components, seed=1):
    rng = np.random.default_rng(seed)
    listed = enumerate_topologies(n_taxa)
    support = build_support(listed[rng.permutation(len(listed))[:topologies]])
    mixture = PhyloMixture(support, components, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        mixture.logits.normal_(0.0, 1.5, generator=torch.Generator().manual_seed(seed + 1))
    return mixture, listed


@pytest.mark.parametrize(("n_taxa", "topologies"), [(4, 1), (4, 3), (5, 15), (6, 20), (7, 60)])
@pytest.mark.parametrize("components", [1, 3])
def test_split_frequencies_of_sbns_are_exact(n_taxa, topologies, components):
    """Against the sum over every topology of its probability."""
    mixture, listed = random_mixture(n_taxa, topologies, components)
    log_q = mixture.log_topology_probability(mixture.support.encode(listed))
    q = np.exp(log_q).mean(axis=1)
    assert q.sum() == pytest.approx(1)
    found = sbn_split_frequencies(mixture.support, mixture.logits.detach().numpy())
    expected = split_frequencies(listed, q)
    np.testing.assert_array_equal(found.bits, expected.bits)
    np.testing.assert_allclose(found.frequencies, expected.frequencies, atol=1e-14)


def test_weighted_mixtures_of_sbns_weigh_their_components():
    mixture, _ = random_mixture(6, 20, 2)
    logits, weights = mixture.logits.detach().numpy(), np.array([0.3, 0.7])
    one, other = (as_dict(sbn_split_frequencies(mixture.support, logits[[a]])) for a in range(2))
    found = as_dict(sbn_split_frequencies(mixture.support, logits, np.log(weights)))
    assert found == pytest.approx({split: 0.3 * one[split] + 0.7 * other[split] for split in one})


# Benchmarks


def test_golden_runs_of_ds1_agree(benchmark_data):
    folder = benchmark_data / "DS1"
    taxa = read_alignment(folder / "DS1.fasta").taxa
    runs = [read_tree_sample([folder / "golden" / f"rep_{k}.trprobs.gz"], taxa) for k in (1, 2, 3)]
    found = [split_frequencies(run.children, run.weights) for run in runs]
    assert average_standard_deviation(unite(*found)) < 0.01
    assert largest_difference(unite(*found))[0] < 0.05


@pytest.mark.parametrize(
    ("name", "difference", "asdsf"),
    [
        # Stated beside the data, for splits at 0.05 or more: golden against the short MrBayes runs.
        ("DS1", 0.003, 0.0007),
        ("DS4", 0.001, 0.0002),
    ],
)
def test_golden_and_short_runs_differ_as_known(benchmark_data, name, difference, asdsf):
    folder = benchmark_data / name
    taxa = read_alignment(folder / f"{name}.fasta").taxa
    samples = [
        read_tree_sample(expand_paths([folder / family / "rep_*.trprobs.gz"]), taxa)
        for family in ("golden", "mrbayes_short")
    ]
    table = unite(*(split_frequencies(each.children, each.weights) for each in samples))
    assert round(largest_difference(table)[0], 3) == difference
    assert round(average_standard_deviation(table, 0.05), 4) == asdsf
