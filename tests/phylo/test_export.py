"""Files that a run leaves for other programs: what they hold, who reads them, and when they are not written."""

from __future__ import annotations

import os
from collections import Counter
from io import StringIO

import dendropy
import numpy as np
import pytest
from export_cases import NAMES, fitted, names_of, read_trees, rows_of, side_of, splits_of, trace_of
from reference import jukes_cantor

import vbpi_mix
from vbpi_mix.errors import ConfigError, RunDirectoryError
from vbpi_mix.phylo.report.export_files import ENDINGS
from vbpi_mix.phylo.trees.files import read_tree_file

# Format: its tree files, and what DendroPy calls them.
TREE_FILES = {
    "mrbayes": (("t", "con.tre", "map.tre", "trprobs"), "nexus"),
    "beast": (("trees", "con.tre", "map.tre"), "nexus"),
    "newick": (("nwk", "con.nwk", "map.nwk"), "newick"),
    "nexml": (("xml", "con.xml", "map.xml"), "nexml"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("export") / "six.vbpi")


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """The folder with every format, unrooted, and that with every format rooted."""
    plain, rooted = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("rooted")
    for form in ENDINGS:
        run.export(plain, form=form, trees=500, force=True)
        run.export(rooted, form=form, trees=20, outgroup=[NAMES[1]], force=True)
    return plain, rooted


@pytest.fixture(scope="module")
def with_parameters(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("export") / "hky.vbpi", model="HKY+G4", iterations=60, answer_draws=2_000)


def test_sample_and_trace_are_in_step(run, exported):
    """Likelihoods by sums over all internal states; the prior is that of 105 topologies and nine exponentials."""
    read = read_tree_file(exported[0] / "six.t", NAMES)
    names, values = trace_of(exported[0] / "six.p")
    assert names == ["Gen", "LnL", "LnPr", "TL"]
    assert values.shape == (500, 4)
    assert values[:, 0].tolist() == list(range(500))
    patterns = run.problem.parts[0].patterns
    for k in range(0, 500, 50):
        lengths = read.lengths[k]
        likelihood = jukes_cantor.log_likelihood_by_summation(read.children[k], lengths, patterns.states, patterns.weights)
        prior = np.log(10) * 9 - 10 * lengths.sum() - np.log(105)
        assert values[k, 1:].tolist() == pytest.approx([likelihood, prior, lengths.sum()], rel=1e-6)


def test_the_sample_has_the_probabilities_and_means_of_the_answer(run, exported):
    answer = run.answer()
    assert answer.source == "weighted"
    trees = read_trees(exported[0] / "six.t")
    counts = Counter(side for tree in trees for side in splits_of(tree))
    expected = {side_of(each.members, NAMES): each for each in run.split_frequencies()}
    assert len(expected) > 10
    assert max(abs(counts[side] / 500 - each.frequency) for side, each in expected.items()) < 0.01
    _, values = trace_of(exported[0] / "six.p")
    (length,) = answer.parameters
    assert values[:, 3].mean() == pytest.approx(length.mean, abs=4 * length.sd / np.sqrt(500))
    assert values[:, 3].std() == pytest.approx(length.sd, rel=0.2)


def test_the_consensus_says_what_is_known_of_its_edges(run, exported):
    (tree,) = read_trees(exported[0] / "six.con.tre", extract_comment_metadata=True)
    assert tree.is_rooted is False
    known = {side_of(each.members, NAMES): each for each in run.split_frequencies()}
    majority = {side for side, each in known.items() if each.frequency > 0.5}
    found = splits_of(tree)
    assert set(found) == majority
    assert majority
    trees = run.importance.trees
    for side, node in found.items():
        facts = node.annotations.values_as_dict()
        assert float(facts["prob"]) == pytest.approx(known[side].frequency, rel=1e-5)
        assert float(facts["prob_error"]) == pytest.approx(known[side].error, rel=1e-2)
        assert float(facts["length_mean"]) == pytest.approx(known[side].length, rel=1e-6)
        assert node.edge.length == pytest.approx(known[side].length, rel=1e-6)
        low, high = (float(x) for x in facts["length_95%HPD"])
        has = [k for k in range(len(trees)) if low <= length_in(trees, k, side) <= high]
        all_with = [k for k in range(len(trees)) if length_in(trees, k, side) >= 0]
        shares = run.importance.weighting.shares
        assert shares[has].sum() / shares[all_with].sum() == pytest.approx(0.95, abs=0.003)
        assert low < float(facts["length_median"]) < high


def length_in(trees, k, side):
    """Of the edge with that split, -1 if the tree has not got it."""
    wanted = sum(1 << NAMES.index(name) for name in side)
    wanted = wanted if not wanted & 1 else (1 << len(NAMES)) - 1 - wanted
    row = trees.splits[trees.topology[k]]
    (place,) = np.nonzero(trees.split_bits[row, 0] == wanted)
    return trees.lengths[k, place[0]] if place.size else -1.0


def test_the_most_probable_tree(run, exported):
    (tree,) = read_trees(exported[0] / "six.map.tre", extract_comment_metadata=True)
    best = run.topologies()[0]
    (expected,) = vbpi_mix_trees([best.newick])
    assert set(splits_of(tree)) == set(splits_of(expected))
    known = {side_of(each.members, NAMES): each.frequency for each in run.split_frequencies()}
    for side, node in splits_of(tree).items():
        assert float(node.annotations.get_value("prob")) == pytest.approx(known[side], rel=1e-5)
    assert f"probability {best.probability:.6g}" in (exported[0] / "six.map.tre").read_text(encoding="utf-8").splitlines()[1]


def vbpi_mix_trees(texts):
    import dendropy

    return dendropy.TreeList.get(data="\n".join(texts), schema="newick", preserve_underscores=True)


def test_tables(run, exported):
    rows = rows_of(exported[0] / "six.splits.csv")
    first = run.split_frequencies()[0]
    assert tuple(rows[0]["members"].split(" | ")) == first.members
    (row,) = rows_of(exported[0] / "six.parameters.csv")
    (known,) = run.parameters()
    numbers = [float(row[name]) for name in ("mean", "error", "sd", "lower", "upper")]
    assert numbers == pytest.approx([known.mean, known.error, known.sd, known.lower, known.upper], rel=1e-6)
    assert (row["name"], row["source"]) == ("TL", "weighted")
    assert known.lower < float(row["median"]) < known.upper
    assert float(row["hpd_upper"]) - float(row["hpd_lower"]) <= known.upper - known.lower


@pytest.mark.parametrize("form", list(TREE_FILES))
def test_dendropy_reads_every_tree_with_its_names(exported, form):
    files, schema = TREE_FILES[form]
    for folder, rooted in zip(exported, (False, True), strict=True):
        for ending in files:
            trees = read_trees(folder / f"six.{ending}", schema)
            assert names_of(trees[0]) == set(NAMES), ending
            if "con" in ending or "map" in ending:
                assert (len(trees[0].seed_node.child_nodes()) == 2) == rooted, ending
                if schema != "newick":
                    assert trees[0].is_rooted == rooted, ending


@pytest.mark.parametrize("form", ["mrbayes", "beast", "newick"])
def test_biopython_reads_every_tree_with_its_names(exported, form):
    """But for brackets in a name, of which Biopython's NEXUS reader makes a comment, quotes or not."""
    from Bio import Phylo

    files, schema = TREE_FILES[form]
    for folder in exported:
        for ending in files:
            text = (folder / f"six.{ending}").read_text(encoding="utf-8")
            tree = next(iter(Phylo.parse(StringIO(text), schema)))
            assert len(tree.get_terminals()) == 6
            if schema == "newick":
                assert {each.name for each in tree.get_terminals()} == set(NAMES), ending


def test_a_root_moves_support_with_its_edge(run, exported):
    (plain,), (rooted,) = (
        read_trees(folder / "six.con.tre", extract_comment_metadata=True) for folder in exported
    )
    first, second = (
        {side: node.annotations.get_value("prob") for side, node in splits_of(tree).items()} for tree in (plain, rooted)
    )
    assert first == second
    top = [names_of_node(child) for child in rooted.seed_node.child_nodes()]
    assert top == [{NAMES[1]}, set(NAMES) - {NAMES[1]}]
    # Both halves of the edge, and what is said of its length.
    halves = rooted.seed_node.child_nodes()
    whole = next(leaf for leaf in plain.leaf_node_iter() if leaf.taxon.label == NAMES[1])
    assert [child.edge.length for child in halves] == pytest.approx([whole.edge.length / 2] * 2, rel=1e-6)
    assert float(halves[0].annotations.get_value("length_mean")) == pytest.approx(whole.edge.length / 2, rel=1e-6)


def names_of_node(node):
    return {leaf.taxon.label for leaf in node.leaf_iter()}


def test_trees_for_beast_and_lists_of_newick_have_their_root(exported):
    for ending, schema in (("trees", "nexus"), ("nwk", "newick")):
        for tree in read_trees(exported[1] / f"six.{ending}", schema):
            assert {NAMES[1]} in [names_of_node(child) for child in tree.seed_node.child_nodes()]
    unasked = read_trees(exported[0] / "six.trees")[0]
    assert {NAMES[0]} in [names_of_node(child) for child in unasked.seed_node.child_nodes()]
    names, values = trace_of(exported[0] / "six.log")
    assert names == ["state", "posterior", "likelihood", "prior", "treeLength"]
    np.testing.assert_allclose(values[:, 1], values[:, 2] + values[:, 3])


def test_parameters_are_columns_of_the_trace(with_parameters, tmp_path):
    run = with_parameters
    run.export(tmp_path, trees=300)
    names, values = trace_of(tmp_path / "hky.p")
    assert names == ["Gen", "LnL", "LnPr", "TL", "kappa", "pi(A)", "pi(C)", "pi(G)", "pi(T)", "alpha"]
    np.testing.assert_allclose(values[:, 5:9].sum(axis=1), 1.0, rtol=1e-8)
    assert [row["name"] for row in rows_of(tmp_path / "hky.parameters.csv")] == names[3:]
    # Priors of MrBayes: kappa/(1+kappa) is uniform, frequencies are Dirichlet(1,1,1,1), alpha is Exp(1).
    read = read_tree_file(tmp_path / "hky.t", NAMES)
    length, alpha = read.lengths.sum(axis=1), values[:, 9]
    expected = np.log(10) * 9 - 10 * length - np.log(105) - alpha + np.log(6)
    np.testing.assert_allclose(values[:, 2], expected, rtol=1e-6)


def test_an_earlier_run_is_exported_from_its_folder(run, exported, tmp_path):
    again = vbpi_mix.load(run.path)
    done = again.export(tmp_path, trees=500)
    assert len(done.paths) == 7
    for path in done.paths:
        assert path.read_bytes() == (exported[0] / path.name).read_bytes(), path.name


def test_a_fit_that_cannot_be_weighted_is_exported_as_it_is(tmp_path):
    hopeless = fitted(tmp_path / "cold.vbpi", sites=1000, iterations=1, init="flat", learning_rate=1e-12)
    done = hopeless.export(trees=12_000, outgroup=NAMES[:2])
    assert done.source == "fit"
    assert {path.parent for path in done.paths} == {tmp_path}
    for ending in ("t", "p", "con.tre", "map.tre"):
        assert "not weighted, as the weights cannot be relied on" in (tmp_path / f"cold.{ending}").read_text("utf-8")
    trees = read_tree_file(tmp_path / "cold.t", NAMES)
    q = np.exp(hopeless.mixture.log_topology_probability(hopeless.mixture.support.encode(trees.children[:1]))).mean()
    share = (trees.children == trees.children[0]).all(axis=(1, 2)).mean()
    assert share == pytest.approx(q, abs=4 * np.sqrt(q * (1 - q) / 12_000))
    _, values = trace_of(tmp_path / "cold.p")
    np.testing.assert_allclose(values[:, 3], trees.lengths.sum(axis=1), rtol=1e-6)


def test_an_outgroup_that_is_no_group_is_said(run, tmp_path):
    groups = [each.members for each in run.split_frequencies() if each.frequency > 0.5]
    pairs = [pair for pair in ((NAMES[a], NAMES[b]) for a in range(6) for b in range(a)) if pair not in groups]
    remarks = [run.export(tmp_path, outgroup=pair, force=True, trees=5).remarks for pair in pairs]
    said = [each for each in remarks if any("not monophyletic" in remark for remark in each)]
    assert said
    text = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("six.*.tre"))
    assert "not monophyletic" in text or "neither a group" in text or not remarks[-1]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"trees": 0}, "--trees 0"),
        ({"form": "docx"}, "'docx' is not known"),
        ({"outgroup": "Pan"}, "'Pan' is not among the 6"),
        ({"outgroup": NAMES}, "all 6 taxa"),
        ({"outgroup": NAMES[:1], "midpoint": True}, "either"),
    ],
)
def test_a_bad_choice_writes_nothing(run, tmp_path, choices, message):
    with pytest.raises(ConfigError, match=message):
        run.export(tmp_path / "new", **choices)
    assert not list(tmp_path.iterdir())


def test_places_are_checked_before_any_work(run, tmp_path, monkeypatch):
    monkeypatch.setattr(run._answers, "with_draws", lambda *_: pytest.fail("drew before it looked"))
    (tmp_path / "six.p").write_text("mine")
    with pytest.raises(ConfigError, match=r"six\.p exists"):
        run.export(tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        run.export(tmp_path / "nowhere" / "deep")
    with pytest.raises(ConfigError, match="is not a folder"):
        run.export(tmp_path / "six.p")
    assert (tmp_path / "six.p").read_text() == "mine"


@pytest.mark.parametrize("broken", range(7))
def test_all_files_are_written_or_none(run, tmp_path, monkeypatch, broken):
    """The disk gives out at one of them: what was there is there, and nothing else."""
    endings = ("t", "con.tre", "parameters.csv")
    for ending in endings:
        (tmp_path / f"six.{ending}").write_text("mine")
    real, left = os.replace, [broken + 1]

    def replace(source, target):
        if str(target).startswith(str(tmp_path / "six")) and ".part" in str(source) and "replaced" not in str(source):
            left[0] -= 1
            if not left[0]:
                raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(ConfigError, match="No space left"):
        run.export(tmp_path, force=True, trees=5)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"six.{ending}" for ending in endings)
    assert {path.read_text() for path in tmp_path.iterdir()} == {"mine"}


def test_a_run_that_was_never_trained_is_not_exported(run, tmp_path):
    bare = run.save(tmp_path / "bare.vbpi")
    bare.directory.trace.unlink()
    bare.directory.drop_from_summary(("iterations",))
    with pytest.raises(RunDirectoryError, match="never trained"):
        bare.export()
    assert [path.name for path in tmp_path.iterdir()] == ["bare.vbpi"]


def test_names_alike_but_for_blanks_stay_apart_in_every_file(tmp_path):
    """DendroPy reads an unquoted `_` as a blank unless it is told otherwise."""
    taxa = ("a b", "a_b", "A_b", "t4", "t5", "t6")
    run = fitted(tmp_path / "run", taxa=taxa, iterations=40, answer_draws=500)
    texts = [(run.path / "consensus.nwk", "newick"), (run.path / "topologies.trprobs", "nexus")]
    for form, (endings, schema) in TREE_FILES.items():
        run.export(tmp_path / form, form=form, trees=5)
        texts += [(next((tmp_path / form).glob(f"*.{ending}")), schema) for ending in endings]
    for path, schema in texts:
        trees = dendropy.TreeList.get(
            path=str(path), schema=schema, taxon_namespace=dendropy.TaxonNamespace(is_case_sensitive=True),
            **({} if schema == "nexml" else {"case_sensitive_taxon_labels": True}),
        )  # fmt: skip
        assert all(names_of(tree) == set(taxa) for tree in trees), path
        if "con" not in path.name:
            assert read_tree_file(path, taxa).children.shape[1:] == (4, 2)
