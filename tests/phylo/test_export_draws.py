"""Resampled draws, intervals of weighted values, densities of parameters, and objects of other libraries."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from export_cases import PLAIN, fitted, names_of, splits_of

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.models.parameters import Positive, Share, Simplex
from vbpi_mix.phylo.report.consensus import Consensus, ConsensusClade
from vbpi_mix.phylo.report.export_draws import ExportDraws
from vbpi_mix.phylo.report.export_trees import label_mark, tree_text
from vbpi_mix.phylo.report.hpd import spread
from vbpi_mix.phylo.report.libraries import to_arviz
from vbpi_mix.phylo.report.rooting import Rooting, root
from vbpi_mix.phylo.trees.newick import newick_word
from vbpi_mix.phylo.trees.topology import enumerate_topologies


@pytest.fixture
def draws():
    """3,000 draws of 105 topologies, whose weights differ much."""
    rng = np.random.default_rng(4)
    children, count = enumerate_topologies(6), 3_000
    shares = rng.exponential(1, count) ** 3
    return ExportDraws(
        "weighted", children, np.zeros((105, 9), dtype=np.int32), rng.integers(0, 105, count),
        rng.exponential(0.1, (count, 9)), shares / shares.sum(),
    )  # fmt: skip


@pytest.mark.parametrize("count", [1, 37, 1000, 20_000])
def test_topologies_are_resampled_as_often_as_they_weigh(draws, count):
    rows = draws.resample(count, np.random.default_rng(3))
    assert rows.size == count
    expected = np.bincount(draws.topology, draws.shares, 105) * count
    assert np.abs(np.bincount(draws.topology[rows], minlength=105) - expected).max() < 1
    assert np.abs(np.bincount(rows, minlength=3_000) - draws.shares * count).max() < 1
    np.testing.assert_array_equal(rows, draws.resample(count, np.random.default_rng(3)))


def test_the_first_half_of_a_sample_is_a_sample(draws):
    rows = draws.resample(20_000, np.random.default_rng(3))[:10_000]
    found, expected = np.bincount(draws.topology[rows], minlength=105) / 10_000, np.bincount(draws.topology, draws.shares, 105)
    assert np.abs(found - expected).max() < 0.01


def test_draws_without_weight_are_not_taken():
    shares = np.array([0.0, 0.5, 0.0, 0.5, 0.0])
    given = ExportDraws(
        "weighted", enumerate_topologies(4), np.zeros((3, 5), dtype=np.int32), np.array([0, 1, 2, 0, 1]), np.ones((5, 5)), shares
    )
    for seed in range(20):
        assert set(given.resample(7, np.random.default_rng(seed)).tolist()) == {1, 3}


def test_spread_of_known_values():
    """Of 1 to 100, equally likely: the shortest interval with 95% has 95 of them, and the first of those is taken."""
    values = np.random.default_rng(0).permutation(np.arange(1.0, 101.0))
    found = spread(values, np.ones(100))
    assert (found.mean, found.median, found.lower, found.upper) == (50.5, 50, 3, 98)
    assert (found.hpd_lower, found.hpd_upper) == (1, 95)


def test_spread_of_a_skewed_density_and_of_weights():
    """Exp(1): the shortest interval starts at 0 and ends at log 20; the same from uniform values weighted by the density."""
    at = (np.arange(200_000) + 0.5) / 200_000
    for values, shares in ((-np.log(at), np.ones(at.size)), (20 * at, np.exp(-20 * at))):
        found = spread(values, shares)
        assert [found.mean, found.median] == pytest.approx([1, np.log(2)], abs=1e-3)
        assert [found.lower, found.upper] == pytest.approx([-np.log(0.975), -np.log(0.025)], abs=1e-3)
        assert [found.hpd_lower, found.hpd_upper] == pytest.approx([0, np.log(20)], abs=1e-3)


def test_values_without_weight_do_not_count():
    found = spread(np.array([-100.0, 1.0, 2.0, 100.0]), np.array([0.0, 1.0, 1.0, 0.0]))
    assert (found.lower, found.upper, found.hpd_lower, found.hpd_upper) == (1, 2, 1, 2)
    assert np.isnan(spread(np.array([1.0]), np.array([0.0])).mean)


@pytest.mark.parametrize(
    "parameter",
    [Simplex((1.0, 2.0, 0.5, 1.0)), Positive(2.0, 1.0, (1e-3, 1e3)), Share(1.0, 2.0)],
    ids=["simplex", "positive", "share"],
)
def test_jacobians_are_those_of_the_maps(parameter):
    """Against differences of the values."""
    z, step = np.random.default_rng(1).normal(size=(5, parameter.size)), 1e-6
    for row, found in zip(z, parameter.log_jacobian(z), strict=True):
        columns = []
        for k in range(parameter.size):
            up, down = row.copy(), row.copy()
            up[k] += step
            down[k] -= step
            difference = (parameter.values(up[None]) - parameter.values(down[None]))[0] / (2 * step)
            columns.append(difference[: parameter.size])
        assert found == pytest.approx(np.log(abs(np.linalg.det(np.array(columns)))), abs=1e-6)


@pytest.fixture
def tree():
    """Unrooted, with names that must be quoted, one of them like a support value."""
    def leaf(name, length):
        return ConsensusClade(name, 1.0, length)

    pair = ConsensusClade("", 0.75, 0.5, (leaf("it's (c)", 0.3), leaf("0.9", 0.4)))
    return Consensus((leaf("a b", 0.1), leaf("b_b", 0.2), ConsensusClade("", 0.9, 0.6, (pair, leaf("Ä,e", 0.7)))))


def test_dendropy_has_the_tree(tree):
    made = tree.to_dendropy()
    assert names_of(made) == {"a b", "b_b", "it's (c)", "0.9", "Ä,e"}
    found = {side: (node.label, node.annotations.get_value("prob"), node.edge.length) for side, node in splits_of(made).items()}
    # By the side without "0.9", the first name.
    assert found == {frozenset({"a b", "b_b", "Ä,e"}): ("0.75", 0.75, 0.5), frozenset({"a b", "b_b"}): ("0.9", 0.9, 0.6)}
    assert not made.is_rooted
    assert root(tree, Rooting(("a b",))).tree.to_dendropy().is_rooted
    assert made.length() == pytest.approx(2.8)


def test_biopython_has_the_tree(tree):
    made = tree.to_biopython()
    assert [leaf.name for leaf in made.get_terminals()] == ["a b", "b_b", "it's (c)", "0.9", "Ä,e"]
    assert [node.confidence for node in made.get_nonterminals()] == [None, 0.9, 0.75]
    assert made.total_branch_length() == pytest.approx(2.8)
    assert made.distance("a b", "0.9") == pytest.approx(1.6)


def test_ete3_has_the_tree(tree):
    pytest.importorskip("ete3")
    made = tree.to_ete3()
    assert made.get_leaf_names() == ["a b", "b_b", "it's (c)", "0.9", "Ä,e"]
    assert made.get_distance("a b", "0.9") == pytest.approx(1.6)
    assert (made & "0.9").up.support == 0.75


def test_ete3_reads_newick_with_quoted_names():
    """But for quotes within a name, which ETE 3 reads its own way."""
    ete3 = pytest.importorskip("ete3")
    names = ("Homo sapiens", "x[1](2)", "Größe_ä", "a,b:c;d", "e-f.g", 'q"t')
    leaves = [ConsensusClade(name, 1.0, 0.1 + k) for k, name in enumerate(names)]
    tree = Consensus((*leaves[:4], ConsensusClade("", 0.75, 0.5, tuple(leaves[4:]))))
    for text in (tree.newick(), tree_text(tree, newick_word, label_mark)):
        made = ete3.Tree(text, quoted_node_names=True)
        assert set(made.get_leaf_names()) == set(names)
        assert (made & "e-f.g").up.support == 0.75


def test_arviz_has_the_parameters(tmp_path):
    pytest.importorskip("arviz")
    run = fitted(tmp_path / "six.vbpi", PLAIN, model="HKY", iterations=60, answer_draws=2_000)
    made = run.to_arviz(500)
    assert made.posterior.sizes["draw"] == 500
    assert set(made.posterior.data_vars) == {"TL", "kappa", "pi(A)", "pi(C)", "pi(G)", "pi(T)"}
    known = {each.name: each for each in run.parameters()}
    for name, each in known.items():
        assert float(made.posterior[name].mean()) == pytest.approx(each.mean, abs=4 * each.sd / np.sqrt(500) + 4 * each.error)
    assert (made.sample_stats["lp"] < made.sample_stats["LnPr"]).all()


TRACE = np.arange(15.0).reshape(3, 5) - 9


@pytest.mark.parametrize("version", ["0.23.4", "1.3.0"])
def test_arviz_is_given_its_groups_as_its_version_takes_them(monkeypatch, version):
    """Versions before 1.0 take a keyword for each group, later ones one mapping; both were run once by the test below."""
    given = []
    fake = types.SimpleNamespace(__version__=version)
    if version.startswith("0"):
        fake.from_dict = lambda *, posterior, sample_stats: given.append({"posterior": posterior, "sample_stats": sample_stats})
    else:
        fake.from_dict = lambda data, *, name=None: given.append(data)
    monkeypatch.setitem(sys.modules, "arviz", fake)
    to_arviz(("LnL", "LnPr", "TL", "kappa", "pi(A)"), TRACE)
    (groups,) = given
    assert list(groups) == ["posterior", "sample_stats"]
    assert list(groups["posterior"]) == ["TL", "kappa", "pi(A)"]
    np.testing.assert_array_equal(groups["posterior"]["kappa"], TRACE[None, :, 3])
    np.testing.assert_array_equal(groups["sample_stats"]["lp"], TRACE[None, :, 0] + TRACE[None, :, 1])


def test_arviz_itself_takes_a_trace():
    pytest.importorskip("arviz")
    made = to_arviz(("LnL", "LnPr", "TL", "kappa", "pi(A)"), TRACE)
    assert dict(made.posterior.sizes) == {"chain": 1, "draw": 3}
    np.testing.assert_array_equal(made.posterior["kappa"].values, TRACE[None, :, 3])
    np.testing.assert_array_equal(made.sample_stats["lp"].values, TRACE[None, :, 0] + TRACE[None, :, 1])


@pytest.mark.parametrize(("module", "convert"), [("ete3", "to_ete3"), ("Bio.Phylo.Newick", "to_biopython")])
def test_a_library_that_is_missing_is_one_line(tree, monkeypatch, module, convert):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"pip install 'vbpi-mix\[{'ete3' if module == 'ete3' else 'biopython'}\]'"):
        getattr(tree, convert)()


@pytest.mark.parametrize(("far", "ends"), [(-10.0, (1.0, 19.0)), (40.0, (1.0, 19.0))])
def test_the_shortest_interval_leaves_out_the_farthest_of_twenty_values(far, ends):
    """Nineteen of twenty are 95%; the central interval has all but what is beyond the last half."""
    values = np.array([*range(1, 20), far])
    found = spread(values, np.full(20, 0.05))
    assert (found.hpd_lower, found.hpd_upper) == ends
    assert (found.lower, found.upper) == (values.min(), values.max())
    assert found.mean == pytest.approx((190 + far) / 20)
    assert found.median == (9.0 if far < 0 else 10.0)
