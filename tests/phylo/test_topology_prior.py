"""What is known of the topology: allowed topologies counted, recognised and drawn, and what users write."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vbpi_mix.errors import ConfigError, TreeError
from vbpi_mix.phylo.approximation import approximate
from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.growth import grow
from vbpi_mix.phylo.models.constraints import parse_constraints
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.topology_prior import TopologyPrior
from vbpi_mix.phylo.sampling.widen import nni_neighbours, widen, widen_sample
from vbpi_mix.phylo.sbn.coverage import in_support
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.sample import read_tree_sample
from vbpi_mix.phylo.trees.topology import (
    canonicalise,
    enumerate_topologies,
    parse_newick,
    random_topologies,
    to_newick,
    unique_topologies,
)  # fmt: skip

TAXA = ("Homo_sapiens", "Pan", "Gorilla", "Pongo", "Lemur_catta", "Tarsius", "Saimiri")
GROUPS = {
    "one": [{1, 2}],
    "of the first taxon": [{0, 3, 5}],
    "nested": [{1, 2}, {1, 2, 3}],
    "disjoint": [{1, 2, 3}, {4, 5}],
    "complements": [{0, 3, 4, 5, 6}, {1, 2}],
    "many": [{1, 2}, {3, 4}, {1, 2, 3, 4}, {5, 6}],
}


def splits_of(children):
    """Sides without taxon 0 of a tree, one set for each internal node."""
    below = [{k} for k in range(len(children) + 2)]
    for left, right in children:
        below.append(below[left] | below[right])
    return [frozenset(each) for each in below]


def prior_of(groups, n_taxa=7):
    return TopologyPrior.of(n_taxa, [frozenset(group) for group in groups])


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
def test_allowed_topologies_are_counted_and_recognised(groups):
    prior, every = prior_of(groups), enumerate_topologies(7)
    sides = [frozenset(range(7)) - group if 0 in group else frozenset(group) for group in groups]
    expected = [set(sides) <= set(splits_of(children)) for children in every]
    np.testing.assert_array_equal(prior.allows(every), expected)
    assert prior.count == sum(expected)
    assert prior.log_probability == pytest.approx(-math.log(sum(expected)), abs=1e-12)


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
def test_draws_are_uniform_over_what_is_allowed(groups):
    prior = prior_of(groups)
    drawn = prior.draw(200 * prior.count, np.random.default_rng(3))
    np.testing.assert_array_equal(drawn, canonicalise(drawn)[0])
    assert prior.allows(drawn).all()
    distinct, index = unique_topologies(drawn)
    counts = np.bincount(index)
    assert len(distinct) == prior.count
    freedom = prior.count - 1
    assert ((counts - 200) ** 2 / 200).sum() < freedom + 5 * math.sqrt(2 * freedom) + 1e-9


def test_without_splits_everything_is_as_before():
    prior = TopologyPrior(6)
    assert prior.free
    assert not prior.fixed
    assert prior.count == 105
    assert prior.log_probability == -sum(math.log(k) for k in (3, 5, 7))
    drawn = prior.draw(5, np.random.default_rng(1))
    np.testing.assert_array_equal(drawn, random_topologies(6, 5, np.random.default_rng(1)))
    assert prior.allows(drawn).all()


def test_more_than_64_taxa():
    rng = np.random.default_rng(0)
    prior = prior_of([set(range(60, 70)), {0, 1, 2, 69 + 1}], 130)
    drawn = prior.draw(20, rng)
    assert prior.allows(drawn).all()
    assert not prior.allows(random_topologies(130, 20, rng)).any()
    assert (prior.carriers(drawn).sum(1) == 2).all()


@pytest.mark.parametrize("groups", [[{1, 2, 3, 4}], [{0, 3, 5, 6}], [{1, 2, 3}, {1, 2, 3, 4, 5}]])
def test_supports_of_allowed_topologies_hold_allowed_ones_only(groups):
    prior, every = prior_of(groups, 8), enumerate_topologies(8)
    some = unique_topologies(prior.draw(30, np.random.default_rng(8)))[0]
    held = in_support(build_support(some).encode(every))
    assert held.sum() > len(some)
    assert prior.allows(every[held]).all()


def test_neighbours_that_are_not_allowed_are_not_added():
    prior = prior_of(GROUPS["disjoint"])
    some = unique_topologies(prior.draw(3, np.random.default_rng(5)))[0]
    weights = np.full(len(some), 1 / len(some))
    everything, allowed = widen(some, weights, len(some)), widen(some, weights, len(some), prior)
    assert not prior.allows(everything).all()
    np.testing.assert_array_equal(allowed, everything[prior.allows(everything)])


def test_a_support_grows_among_allowed_topologies():
    rng = np.random.default_rng(6)
    prior = prior_of(GROUPS["disjoint"])
    patterns = SitePatterns((1 << rng.integers(0, 4, (7, 3))).astype(np.uint8), np.ones(3))
    posterior = Posterior(patterns, topology_prior=prior)
    assert posterior.constant == pytest.approx(-math.log(prior.count) + 11 * math.log(10.0))
    start = prior.draw(1, rng)
    found = approximate(start, posterior, rng)
    support, growth = grow(build_support(start), start, found, posterior, rng, start)
    assert growth.children.shape[0] > 3
    assert prior.allows(growth.children).all()
    every = enumerate_topologies(7)
    assert prior.allows(every[in_support(support.encode(every))]).all()


def test_a_fixed_topology_is_the_case_of_one():
    tree = "((Homo_sapiens,Pan),Gorilla,(Pongo,(Lemur_catta,(Tarsius,Saimiri))));"
    prior = parse_constraints([], TAXA, tree)
    assert prior.fixed
    assert prior.count == 1
    assert prior.log_probability == 0.0
    children, _ = parse_newick(tree, TAXA)
    np.testing.assert_array_equal(prior.draw(2, np.random.default_rng(0)), [children, children])
    assert prior.allows(nni_neighbours(children[None])[0]).sum() == 0


def test_a_polytomy_constrains_what_it_resolves(tmp_path):
    file = tmp_path / "tree.nex"
    file.write_text(
        "#NEXUS\nbegin trees;\ntranslate 1 Homo_sapiens, 2 Pan, 3 Gorilla, 4 Pongo, 5 Lemur_catta, 6 Tarsius, 7 Saimiri;\n"
        "tree a = [&U] (((1:0.1,2:0.2)0.9:.1,3)[&x=(1)]:1e-3,4,(5,6,7)1.0:2);\nend;\n"
    )
    prior = parse_constraints([], TAXA, str(file))
    assert set(prior.splits) == {frozenset(group) for group in ({4, 5, 6}, {2, 3, 4, 5, 6}, {3, 4, 5, 6})}
    assert not prior.fixed
    assert prior.count == 3
    assert parse_constraints(["Tarsius,Saimiri"], TAXA, str(file)).fixed


@pytest.mark.parametrize(
    "text",
    [
        "(Homo_sapiens,Pan,Gorilla)", "Homo_sapiens, Pan, Gorilla", "'Homo sapiens',Pan,Gorilla",
        "(Homo sapiens,Pan:0.1,Gorilla)0.9;",
        "constraint apes = Homo_sapiens Pan Gorilla;", "Constraint apes -1 = 1-3", "constraint apes hard = 1 2 3",
        "constraint apes = Pongo 5-.", "(Pongo,Lemur_catta,Tarsius,Saimiri)",
    ],
)  # fmt: skip
def test_a_group_or_all_the_others_is_one_constraint(text):
    assert parse_constraints([text], TAXA).splits == (frozenset({3, 4, 5, 6}),)


def test_files_and_nested_groups_are_read(tmp_path):
    lines = tmp_path / "groups.txt"
    lines.write_text("# apes\n(Homo_sapiens,Pan)\n\nTarsius,Saimiri\n")
    wanted = {frozenset({2, 3, 4, 5, 6}), frozenset({5, 6})}
    assert set(parse_constraints([str(lines)], TAXA).splits) == wanted
    block = tmp_path / "mb.nex"
    block.write_text("#NEXUS\nbegin mrbayes;\n[constraint no = 1 4;]\nconstraint a = 1\n 2; constraint b = 6 7;\nmcmc;\nend;\n")
    assert set(parse_constraints([str(block)], TAXA).splits) == wanted
    assert set(parse_constraints(["((Homo_sapiens,Pan),Gorilla)"], TAXA).splits) == {
        frozenset({2, 3, 4, 5, 6}), frozenset({3, 4, 5, 6})
    }  # fmt: skip
    whole = "((Homo_sapiens,Pan),Gorilla,Pongo,Lemur_catta,(Tarsius,Saimiri));"
    assert set(parse_constraints([whole], TAXA).splits) == wanted


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["(Homo_sapien,Pan)"], r"^constraint: taxon 'Homo_sapien' is not in the alignment; the nearest is 'Homo_sapiens'$"),
        (["(Pan)"], r"^constraint \(Pan\) has 1 of 7 taxa: .* has 2 to 5$"),
        (["Homo_sapiens,Pan,Gorilla,Pongo,Lemur_catta,Tarsius"], "has 6 of 7 taxa"),
        (["(Pan,Gorilla)", "(Pan,Pongo)"], r"^constraints \(Pan,Gorilla\) and \(Pan,Pongo\) contradict each other"),
        (["constraint a = 1 2", "constraint b = 2 3"], "^constraints constraint a = 1 2 and constraint b = 2 3 contradict"),
        (["(Pan,Gorilla"], r"^constraint \(Pan,Gorilla cannot be read: give \(A,B,C\)"),
        (["(Pan,Gorilla))"], "cannot be read"),
        (["Pan Gorilla"], "cannot be read"),
        (["nowhere.txt"], "^constraint nowhere.txt cannot be read: .*a file"),
        (["(Pan,Gorilla,Pan)"], r"names taxon 'Pan' twice"),
        (["constraint a = 1 9"], "^constraint a: 9 is not among the 7 taxa$"),
        (["constraint a partial = 1 2 : 3"], "^constraint a: a partial constraint is not known here"),
    ],
)
def test_what_is_wrong_with_a_constraint_is_one_line(texts, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_constraints(texts, TAXA)
    assert "\n" not in str(caught.value)


def test_what_is_wrong_with_a_fixed_topology_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="taxon 'Saimiri' is not in the tree"):
        parse_constraints([], TAXA, "((Homo_sapiens,Pan),Gorilla,(Pongo,(Lemur_catta,Tarsius)));")
    with pytest.raises(TreeError, match="no such file"):
        parse_constraints([], TAXA, str(tmp_path / "absent.nwk"))
    two = tmp_path / "two.nwk"
    two.write_text("(a,b,c);\n(a,b,c);\n")
    with pytest.raises(ConfigError, match="it holds 2 trees; a topology to fix is one"):
        parse_constraints([], TAXA, str(two))
    with pytest.raises(ConfigError, match="contradict each other"):
        parse_constraints(["Pan,Gorilla"], TAXA, "((Homo_sapiens,Pan),Gorilla,Pongo,Lemur_catta,Tarsius,Saimiri);")


def test_trees_of_a_sample_that_break_a_constraint_are_dropped(tmp_path):
    rng, names = np.random.default_rng(9), tuple("abcdefg")
    prior = prior_of([{1, 2}])
    topologies = np.concatenate([prior.draw(5, rng), random_topologies(7, 40, rng)])
    file = tmp_path / "sample.nwk"
    file.write_text("".join(f"{to_newick(each, names, np.full(11, 0.1 + k))}\n" for k, each in enumerate(topologies)))
    sample = read_tree_sample([file], names)
    kept, dropped = prior.restrict(sample)
    allowed = prior.allows(topologies)
    assert dropped == (~allowed).sum() > 0
    np.testing.assert_array_equal(kept.children[kept.tree_topology], topologies[allowed])
    np.testing.assert_allclose(kept.lengths[:, 0], 0.1 + np.flatnonzero(allowed))
    assert kept.weights.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(kept.tree_weights, 1 / allowed.sum())
    np.testing.assert_allclose(np.bincount(kept.tree_topology, kept.tree_weights), kept.weights)
    assert prior.restrict(kept) == (kept, 0)
    assert prior.allows(widen_sample(kept, 3, prior=prior).children).all()
    with pytest.raises(TreeError, match=r"none of the .* trees of the sample has the groups of taxa asked for"):
        prior_of([{1, 2}, {3, 4}, {5, 6}]).restrict(prior_of([{1, 3}]).restrict(sample)[0])


def test_other_programs_are_told_in_their_words():
    prior, names = prior_of(GROUPS["nested"], 6), tuple("abcdef")
    assert prior.newick(names) == "(a,e,f,(d,(b,c)));"
    assert prior.mrbayes(names) == (
        "constraint group0 = b c;", "constraint group1 = b c d;", "prset topologypr=constraints(group0,group1);"
    )  # fmt: skip
    assert TopologyPrior(6).mrbayes(names) == ("prset topologypr=uniform;",)
