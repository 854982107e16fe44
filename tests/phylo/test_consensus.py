"""A fit's own answer, by hand: probabilities are means over components, lengths means over the trees that have the edge."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from written_answer import DRAWS, TAXA, read_canonical

from vbpi_mix.estimators import Estimator, draw_components
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.report import batches
from vbpi_mix.phylo.report.answer import own_answer
from vbpi_mix.phylo.report.consensus import majority_rule
from vbpi_mix.phylo.report.export_draws import ExportDraws
from vbpi_mix.phylo.report.summaries import PosteriorTrees, draw_trees, topology_probabilities
from vbpi_mix.phylo.sbn import networks
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.newick import parse_newick

DRAWN = (*DRAWS, "(a:0.7,c:0.2,(b:0.4,d:0.1):0.9);")


@pytest.fixture(scope="module")
def answer():
    """Of two networks that hold the three topologies very differently, and four draws; with the probabilities [3, 2]."""
    children, lengths = read_canonical(DRAWN)
    three = children[[0, 2, 3]]
    support = build_support(three)
    encoded = support.encode(three)
    logits = np.stack([networks.fit_em(support, encoded, np.array(w)) for w in ([0.97, 0.02, 0.01], [0.4, 0.2, 0.4])])
    mixture = PhyloMixture(support, 2, generator=torch.Generator().manual_seed(1), logits=logits)
    of_networks = np.exp([[networks.log_probability(row[None], support, encoded)[t, 0] for row in logits] for t in range(3)])
    assert of_networks[0, 0] > 0.9 > 0.5 > of_networks[0, 1]
    drawn = PosteriorTrees(children, support.encode(children).splits, lengths)
    return own_answer(mixture, drawn), three, of_networks, mixture


def test_probabilities_of_topologies_are_means_over_components(answer):
    made, three, of_networks, mixture = answer
    expected = {tree.tobytes(): sum(row) / 2 for tree, row in zip(three, of_networks.tolist(), strict=True)}
    assert sum(expected.values()) == pytest.approx(1.0, abs=1e-9)
    found = dict(zip((tree.tobytes() for tree in made.children), made.topologies.probabilities, strict=True))
    assert found == pytest.approx(expected, rel=1e-9)
    assert made.topologies.probabilities.tolist() == sorted(found.values(), reverse=True)
    assert made.topologies.errors.tolist() == [0.0, 0.0, 0.0]
    met, probabilities = topology_probabilities(mixture, three[[1, 1]])
    assert met.tobytes() == three[1].tobytes()
    assert probabilities.tolist() == pytest.approx([expected[three[1].tobytes()]], rel=1e-9)


def test_splits_have_exact_frequencies_and_lengths_over_the_trees_with_them(answer):
    made, _, of_networks, _ = answer
    rows = [line.split(",") for line in made.splits_csv(TAXA).splitlines()[1:]]
    found = {row[0]: [float(x) if x else None for x in row[2:6]] for row in rows}
    assert {row[6] for row in rows} == {"fit"}
    assert (made.source, made.draws, made.n_taxa, made.resolved) == ("fit", 4, 4, 1)
    assert replace(made, children=np.zeros((1, 5, 2), np.int32)).n_taxa == 7
    p = dict(zip(("b | c", "c | d", "b | d"), of_networks.mean(axis=1), strict=True))
    error = math.sqrt((0.1**2 + 0.1**2) / 2)
    for members, length, of_length in (("b | c", 0.4, error), ("c | d", 0.4, None), ("b | d", 0.9, None)):
        assert found[members][:3] == [pytest.approx(p[members], rel=1e-7), 0.0, length]
        assert found[members][3] == (of_length and pytest.approx(of_length, rel=5e-3))
    of_d = math.sqrt((0.075**2 + 0.125**2 + 0.275**2 + 0.225**2) / 12)
    assert found["d"] == [1.0, 0.0, pytest.approx(0.325), pytest.approx(of_d, rel=5e-3)]
    assert [row[0] for row in rows] == [*sorted(p, key=p.get, reverse=True), "b", "c", "d", "a"]
    expected = f"(a:0.375,d:0.325,(b:0.225,c:0.275){p['b | c']:.4g}:0.4);"
    assert made.consensus(TAXA).newick() == expected


def test_a_split_whose_probability_is_too_small_for_a_number_is_not_listed():
    children, lengths = read_canonical(DRAWN)
    three = children[[0, 2, 3]]
    support = build_support(three)
    logits = networks.fit_em(support, support.encode(three), np.array([0.6, 0.4, 1e-9]))
    logits = np.where(logits < logits.max() - 12, -5000.0, logits)[None]
    mixture = PhyloMixture(support, 1, generator=torch.Generator().manual_seed(1), logits=logits)
    made = own_answer(mixture, PosteriorTrees(children[:3], support.encode(children[:3]).splits, lengths[:3]))
    rows = [line.split(",") for line in made.splits_csv(TAXA).splitlines()[1:]]
    assert [row[0] for row in rows[:2]] == ["b | c", "c | d"]
    assert len(rows) == 6
    assert float(rows[0][2]) + float(rows[1][2]) == pytest.approx(1.0)


@pytest.mark.parametrize("with_theta", [False, True])
@pytest.mark.parametrize(("count", "asked"), [(5, [2, 1]), (6, [2, 1]), (7, [2, 2]), (1, [1])])
def test_as_many_trees_are_drawn_as_asked_for_from_each_component(answer, monkeypatch, count, asked, with_theta):
    """Two at a time of each of two components; lengths are those of the draws, and not their logarithms."""
    mixture, drawn = answer[3], []
    sample = mixture.sample
    monkeypatch.setattr(batches, "AT_ONCE", 4)

    def noted(*given):
        made = sample(*given)
        of_parameters = torch.rand((*made.log_lengths.shape[:2], 3), dtype=torch.float64)
        drawn.append(replace(made, theta=of_parameters if with_theta else None))
        return drawn[-1]

    monkeypatch.setattr(mixture, "sample", noted)
    found = draw_trees(mixture, draw_components(Estimator.A2A, 2, None, None), count, torch.Generator().manual_seed(1))
    assert [draws.log_lengths.shape[1] for draws in drawn] == asked
    assert found.children.shape[0] == found.lengths.shape[0] == 2 * sum(asked)
    expected = [[math.exp(x) for x in row] for draws in drawn for row in draws.log_lengths.reshape(-1, 5).tolist()]
    assert found.lengths.tolist() == [pytest.approx(row, rel=1e-12) for row in expected]
    np.testing.assert_array_equal(found.splits[:, 1:], mixture.support.encode(found.children).splits[:, 1:])
    if with_theta:
        assert found.theta.tolist() == [row for draws in drawn for row in draws.theta.reshape(-1, 3).tolist()]
    else:
        assert found.theta is None


def test_own_draws_are_exported_one_by_one_with_the_lengths_of_their_edges(answer):
    """From any numbering of nodes: here that of a text read from left to right, in the manner of which the draws are written."""
    mixture = answer[3]
    read = [parse_newick(text, TAXA) for text in DRAWN]
    children, lengths = np.stack([each[0] for each in read]), np.stack([each[1] for each in read])
    found = ExportDraws.own(mixture, PosteriorTrees(children, mixture.support.encode(children).splits, lengths))
    assert (found.source, found.theta, len(found)) == ("fit", None, 4)
    assert found.shares.tolist() == [0.25] * 4
    canonical, in_order = read_canonical(DRAWN)
    for k, (tree, of_edges) in enumerate(found.trees()):
        np.testing.assert_array_equal(tree, canonical[k])
        np.testing.assert_array_equal(of_edges, in_order[k])
    assert found.topology[0] == found.topology[1]
    assert len(found.children) == 3
    twice = found.take(np.array([2, 2, 0]))
    assert twice.shares.tolist() == pytest.approx([1 / 3] * 3)
    assert twice.lengths.tolist() == in_order[[2, 2, 0]].tolist()


def test_half_of_the_trees_are_no_majority():
    bits = np.array([0b0010, 0b0100, 0b1000, 0b0110, 0b1110], np.uint64)[:, None]
    lengths = np.arange(1, 6) / 8
    for frequency, expected in (
        (0.5, "(a:0.625,b:0.125,c:0.25,d:0.375);"),
        (0.5 + 1e-9, "(a:0.625,d:0.375,(b:0.125,c:0.25)0.5:0.5);"),
    ):
        found = majority_rule(bits, np.array([1, 1, 1, frequency, 1]), lengths, TAXA)
        assert str(found) == found.newick() == expected
        assert [clade.frequency for clade in found.clades if clade.name] == [1.0] * (2 if frequency > 0.5 else 4)


def test_clades_within_clades_of_more_taxa_than_a_word_has_bits():
    """70 taxa: of the two words of a split the second holds the last six."""
    taxa = tuple(f"t{k}" for k in range(70))
    members = [{k} for k in range(1, 70)] + [{68, 69}, {67, 68, 69}, {1, 2, 67, 68, 69}, set(range(1, 70))]
    words = [[sum(1 << (k - 64 * w) for k in each if k // 64 == w) for w in range(2)] for each in members]
    frequencies = np.ones(len(members))
    frequencies[[-4, -3, -2]] = 0.75, 0.625, 0.875
    found = majority_rule(np.array(words, np.uint64), frequencies, np.full(len(members), 0.25), taxa).newick()
    inner = "(t1:0.25,t2:0.25,(t67:0.25,(t68:0.25,t69:0.25)0.75:0.25)0.625:0.25)0.875:0.25"
    others = ",".join(f"t{k}:0.25" for k in range(3, 67))
    assert found == f"(t0:0.25,{others},{inner});"
