"""What a support holds of a sample, and of held-out parts of its own."""

import dataclasses
import re

import numpy as np
import pytest
import torch

from vbpi_mix.errors import SupportError, TreeError
from vbpi_mix.phylo.assess.coverage import HeldOutCoverage, _whole_numbers, held_out_coverage
from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.topology_prior import TopologyPrior
from vbpi_mix.phylo.sampling.widen import widen_sample
from vbpi_mix.phylo.sbn.coverage import coverage, in_support
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.sample import expand_paths, read_tree_sample
from vbpi_mix.phylo.trees.topology import enumerate_topologies, random_topologies, to_newick

TAXA = tuple("abcdefg")
LISTED = enumerate_topologies(7)


@pytest.fixture
def sample_of(tmp_path):
    """A sample from files of topologies, given by their places in LISTED."""

    def make(*files):
        paths = []
        for number, places in enumerate(files):
            path = tmp_path / f"{number}.tre"
            path.write_text("".join(to_newick(LISTED[k], TAXA) + "\n" for k in places))
            paths.append(path)
        return read_tree_sample(paths, TAXA)

    return make


def subsplits(children):
    """Every rootsplit and PCSP of every rooting, as nested frozensets: written from their definition."""
    n_taxa = len(children) + 2
    neighbours = {node: set() for node in range(2 * n_taxa - 2)}
    for k, pair in enumerate(children):
        for child in pair:
            neighbours[n_taxa + k].add(child)
            neighbours[child].add(n_taxa + k)
    neighbours[2 * n_taxa - 3].add(0)
    neighbours[0].add(2 * n_taxa - 3)

    def clade(node, above):
        inside = [clade(next_one, node) for next_one in neighbours[node] - {above}]
        return frozenset([node]) if node < n_taxa else frozenset().union(*inside)

    def split(node, above):
        return frozenset(clade(next_one, node) for next_one in neighbours[node] - {above})

    found = set()

    def descend(node, above, parent):
        if node >= n_taxa:
            found.add((parent, clade(node, above), split(node, above)))
            for next_one in neighbours[node] - {above}:
                descend(next_one, node, split(node, above))

    for one in neighbours:
        for other in neighbours[one]:
            root = frozenset([clade(one, other), clade(other, one)])
            found.add(root)
            descend(one, other, root)
            descend(other, one, root)
    return found


def test_in_support_is_every_rootsplit_and_pcsp():
    rng = np.random.default_rng(2)
    chosen = LISTED[rng.permutation(len(LISTED))[:25]]
    support = build_support(chosen)
    known = set().union(*(subsplits(children.tolist()) for children in chosen))
    assert support.n_params == len(known)
    others = LISTED[rng.permutation(len(LISTED))[:100]]
    expected = [subsplits(children.tolist()) <= known for children in others]
    assert 0 < sum(expected) < 100
    assert in_support(support.encode(others)).tolist() == expected


def test_an_sbn_has_probability_inside_and_where_one_neighbourhood_is_missing():
    """Rooted on the edge between two neighbours, a tree does without the PCSPs from the one to the other."""
    support = build_support(LISTED[[1, 50, 300, 301, 302, 500]])
    mixture = PhyloMixture(support, 2, generator=torch.Generator().manual_seed(1))
    encoded = support.encode(LISTED)
    finite = np.isfinite(mixture.log_topology_probability(encoded)).all(axis=1)
    known = (encoded.tripartitions[:, 7:] >= 0).all(axis=1)
    missing = (encoded.entries[:, 7:-1] < 0).sum(axis=1)
    np.testing.assert_array_equal(finite, known & (missing <= 1))
    np.testing.assert_array_equal(in_support(encoded), known & (missing == 0))
    assert in_support(encoded).sum() < finite.sum()


def test_coverage_is_a_share_of_weight():
    support = build_support(LISTED[[4, 5]])
    assert coverage(support, LISTED[[4, 5]], np.array([3.0, 1.0])) == 1.0
    far = next(k for k in range(len(LISTED)) if not in_support(support.encode(LISTED[[k]]))[0])
    assert coverage(support, LISTED[[4, far]], np.array([3.0, 1.0])) == 0.75


def test_coverage_of_other_taxa_is_refused():
    with pytest.raises(SupportError, match="5 taxa do not fit"):
        coverage(build_support(LISTED[:3]), enumerate_topologies(5), np.ones(15))


# Held out


def test_a_sample_of_one_topology_is_covered(sample_of):
    found = held_out_coverage(sample_of([3] * 20))
    assert found.share == 1.0
    assert found.by_fold == (1.0,) * 5
    assert found.between_files is None
    assert found.warning() is None


def test_parts_are_runs_of_trees_in_order(sample_of):
    """Two unlike topologies, each in a run of its own: the runs in which one stays inside are covered."""
    sample = sample_of([10] * 4 + [900] * 4)
    assert held_out_coverage(sample, folds=2).by_fold == (0.0, 0.0)
    assert held_out_coverage(sample, folds=4).by_fold == (1.0,) * 4
    assert held_out_coverage(sample, folds=100).by_fold == (1.0,) * 8


def test_parts_by_hand(sample_of):
    """Of three parts the last has a topology that nothing else has: half of that part."""
    found = held_out_coverage(sample_of([10, 10, 10, 10, 10, 900]), folds=3)
    assert found.by_fold == (1.0, 1.0, 0.5)
    assert found.share == pytest.approx(2.5 / 3)
    assert "only 0.833" in found.warning()
    assert "widen nni" in found.warning()
    assert "\n" not in found.warning()


def test_files_are_left_out_in_turn(sample_of):
    sample = sample_of([10] * 10, [10] * 5 + [900] * 5, [10] * 9 + [900])
    found = held_out_coverage(sample)
    assert found.between_files == 1.0
    sample = sample_of([10] * 10, [10] * 5 + [900] * 5, [10] * 10)
    found = held_out_coverage(sample)
    assert found.share == 1.0
    assert found.between_files == pytest.approx((1 + 0.5 + 1) / 3)
    assert "0.8333 file by file" in found.describe()


def test_files_of_two_trees_are_told_apart(sample_of):
    """One tree less, and they would count as one file."""
    assert held_out_coverage(sample_of([10, 10], [10, 900])).between_files == pytest.approx(0.75)


def test_more_files_than_folds_are_left_out_in_groups(sample_of):
    """Every other file: alone each would find its topology in a file that stays."""
    assert held_out_coverage(sample_of(*[[10] * 3, [900] * 3] * 2), folds=2).between_files == 0.0
    assert held_out_coverage(sample_of(*[[10] * 3, [900] * 3] * 2), folds=3).between_files == 1.0


def test_several_samples_are_as_one_of_several_files(sample_of):
    files = [[10] * 10, [10] * 5 + [900] * 5, [10] * 8 + [77] * 2]
    assert held_out_coverage([sample_of(places) for places in files]) == held_out_coverage(sample_of(*files))


@pytest.mark.parametrize(
    ("weights", "trees"), [((0.6, 0.4), 5), ((0.3, 0.4, 0.3), 10), ((0.2, 0.8), 5), ((0.7, 0.3), 10), ((0.5, 0.5), 2)]
)
def test_weights_stand_for_the_fewest_trees_that_have_their_ratios(tmp_path, weights, trees):
    """Topologies without a rootsplit or PCSP in common: a part left out is covered where the rest has its topology."""
    path = tmp_path / "w.trprobs"
    # Of a topology that is there twice, the weights add up.
    path.write_text("#NEXUS begin trees;\n" + "".join(
        f"tree t = [&W {weight / 2}] {to_newick(LISTED[k], TAXA)}\n" * 2
        for k, weight in zip((10, 900, 400), weights, strict=False)
    ) + "end;")  # fmt: skip
    found = held_out_coverage(read_tree_sample([path], TAXA), folds=1_000)
    assert len(found.by_fold) == 2 * trees
    assert found.share == 1


def test_weighted_topologies_stand_for_trees(tmp_path):
    """0.98 and 0.02 are 49 trees and 1; where the one falls by the seed, a tenth of a part is not covered."""
    path = tmp_path / "sample.trprobs"
    lines = [
        f"tree t = [&W {weight}] {to_newick(LISTED[k], TAXA)}\n" for k, weight in ((10, 0.98), (900, 0.02))
    ]
    path.write_text("#NEXUS\nbegin trees;\n" + "".join(lines) + "end;\n")
    sample = read_tree_sample([path], TAXA)
    found = held_out_coverage(sample)
    assert sorted(found.by_fold) == pytest.approx([0.9, 1, 1, 1, 1])
    assert held_out_coverage(sample) == found
    assert (
        len({held_out_coverage(sample, seed=seed).by_fold.index(min(found.by_fold)) for seed in range(9)}) > 1
    )


def test_only_the_most_frequent_build(sample_of):
    sample = sample_of(([10] * 9 + [900]) * 10)
    assert held_out_coverage(sample, folds=2).share == 1.0
    assert held_out_coverage(sample, folds=2, hpd=0.9).share == pytest.approx(0.9)


def test_widening_covers_the_neighbours(sample_of):
    sample = sample_of([10] * 50)
    near = widen_sample(sample, 1).children[1:]
    place = {children.tobytes(): k for k, children in enumerate(LISTED)}
    sample = sample_of([10] * 42 + [place[children.tobytes()] for children in near])
    plain = held_out_coverage(sample)
    assert plain.share < 1
    assert held_out_coverage(sample, widen_topologies=1).share == 1.0
    assert held_out_coverage(sample, widen_topologies=0).share == 1.0


def of_a_cherry(children):
    """The prior that asks for two taxa that are next to each other in a topology."""
    pair = re.search(r"\((\w),(\w)\)", to_newick(children, TAXA))
    return TopologyPrior.of(7, [frozenset(map(TAXA.index, pair.groups()))])


def test_trees_that_break_a_constraint_count_on_neither_side(sample_of):
    """What lacks a split that is asked for is as if it were not in the files."""
    prior = of_a_cherry(LISTED[10])
    allowed = np.flatnonzero(prior.allows(LISTED)).tolist()
    assert 10 in allowed
    banned = next(k for k in range(len(LISTED)) if k not in allowed)
    near = [10, 10, 10, allowed[0], 10, allowed[-1], 10, 10]
    mixed = [k for each in near for k in (each, banned)]
    expected = held_out_coverage(sample_of(near, [10] * 5), folds=4)
    assert expected.share < 1
    assert held_out_coverage(sample_of(mixed, [10] * 5), folds=4, prior=prior) == expected
    assert held_out_coverage(sample_of(mixed, [10] * 5, [banned] * 3), folds=4, prior=prior) == expected
    with pytest.raises(TreeError, match="no tree of the sample has the groups"):
        held_out_coverage(sample_of([banned] * 4), prior=prior)


def test_widening_adds_no_tree_that_a_constraint_bans(monkeypatch, sample_of):
    """Supports are built of allowed topologies alone."""
    prior = of_a_cherry(LISTED[10])
    built = []

    def remember(children):
        built.append(children)
        return build_support(children)

    monkeypatch.setattr("vbpi_mix.phylo.assess.coverage.build_support", remember)
    held_out_coverage(sample_of([10] * 20), folds=2, widen_topologies=0, prior=prior)
    assert all(len(children) > 1 and prior.allows(children).all() for children in built)
    built.clear()
    held_out_coverage(sample_of([10] * 20), folds=2, widen_topologies=0)
    assert not any(prior.allows(children).all() for children in built)


def test_files_of_a_single_tree_count_as_one(sample_of):
    found = held_out_coverage(sample_of([10], [10], [900]))
    assert found.by_fold == (1.0, 1.0, 0.0)
    assert found.between_files is None


def test_what_cannot_be_held_out_is_refused(sample_of):
    with pytest.raises(TreeError, match="single tree"):
        held_out_coverage(sample_of([3]))
    with pytest.raises(TreeError, match="folds=1"):
        held_out_coverage(sample_of([3, 4]), folds=1)
    with pytest.raises(TreeError, match="no tree sample"):
        held_out_coverage([])


def test_files_are_told_apart_however_many_trees_they_hold():
    """Ten files of 997 trees: weights that do not add up to tenths exactly."""
    rng = np.random.default_rng(1)
    topologies = random_topologies(6, 10, rng)
    # File k has topology k only.
    from vbpi_mix.phylo.trees.sample import TreeSample

    tree_topology = np.repeat(np.arange(10, dtype=np.int32), 997)
    sample = TreeSample(
        taxa=TAXA[:6],
        children=topologies,
        weights=np.full(10, 0.1),
        tree_topology=tree_topology,
        tree_weights=np.full(9970, 1 / 9970),
        lengths=None,
        sources=tuple("0123456789"),
    )
    alone = [
        coverage(build_support(topologies[np.arange(10) % 5 != k]), topologies[k::5], np.ones(2))
        for k in range(5)
    ]
    assert held_out_coverage(sample).between_files == pytest.approx(np.mean(alone))
    assert held_out_coverage(dataclasses.replace(sample, sources=("all",))).between_files is None


def test_the_warning_begins_below_95_per_cent():
    assert HeldOutCoverage(0.95, (0.95,), None).warning() is None
    assert HeldOutCoverage(0.9499, (0.9499,), None).warning() is not None


# Benchmarks


@pytest.mark.parametrize(
    ("files", "elements", "covered"), [(("rep_1",), 6609, 0.998), (("rep_1", "rep_2"), 8345, 0.9996)]
)
def test_ufboot_covers_the_golden_runs_of_ds1_as_published(benchmark_data, files, elements, covered):
    folder = benchmark_data / "DS1"
    taxa = read_alignment(folder / "DS1.fasta").taxa
    golden = read_tree_sample(expand_paths([folder / "golden" / "rep_*.trprobs.gz"]), taxa)
    sample = read_tree_sample([folder / "ufboot" / f"{name}.ufboot.gz" for name in files], taxa)
    support = build_support(sample.children)
    assert support.n_params == elements
    digits = len(str(covered)) - 2
    assert round(coverage(support, golden.children, golden.weights), digits) == covered
    found = held_out_coverage(sample)
    assert found.share == pytest.approx(0.99, abs=0.005)
    if len(files) == 2:
        # One file of UFBoot trees foretells another badly, though both together hold the posterior.
        assert found.between_files == pytest.approx(0.825, abs=0.005)


def test_weights_near_to_nothing_count_as_one_tree():
    """The chains of many taxa leave them; the others come as often as their weights say."""
    from vbpi_mix.phylo.assess.coverage import _single_trees

    found = _single_trees(np.arange(3), np.array([1e-320, 0.75, 0.25]), np.random.default_rng(1))
    count = np.bincount(found, minlength=3)
    assert count[0] == 1
    assert count[1] / count[2] == pytest.approx(3, rel=1e-3)


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([1.5, 1], [3, 2]),
        ([1, 4 / 3], [3, 4]),
        ([1.1, 1], [10, 9]),  # the tenth part is the first that will do but for a hundredth
        ([1.5] + [1] * 99, [2] + [1] * 99),  # of one among many half a tree is less than a hundredth of all
        ([1.4] * 400_000, [1] * 400_000),  # more than a million trees are not made
        ([1.4] * 800_000, [1] * 800_000),
    ],
    ids=["halves", "thirds", "ninths", "many", "a part each", "none"],
)
def test_weights_become_whole_numbers_of_trees(ratios, expected):
    assert _whole_numbers(np.array(ratios, dtype=float)).tolist() == expected
