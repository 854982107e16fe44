"""`vbpi-mix compare`: what it computes, prints and writes, and what it refuses."""

import csv
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vbpi_mix.errors import TreeError
from vbpi_mix.estimators import Estimator, draw_components
from vbpi_mix.phylo.assess.comparison import compare, of_mixture, of_sample
from vbpi_mix.phylo.assess.verdict import Facts, judge
from vbpi_mix.phylo.importance import ImportancePass
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.report.weighted import draw_weighted_trees
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.files import read_tree_taxa
from vbpi_mix.phylo.trees.sample import read_tree_sample
from vbpi_mix.phylo.trees.topology import enumerate_topologies, to_newick
from vbpi_mix_cli.main import main

TAXA = ("Aa", "B b", "c_c", "d'd", "e", "f")
LISTED = enumerate_topologies(6)
PNG = b"\x89PNG\r\n"


def mixture_of(places, components=2, seed=1):
    support = build_support(LISTED[list(places)])
    mixture = PhyloMixture(support, components, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        mixture.logits.normal_(generator=torch.Generator().manual_seed(seed))
    return mixture


def exact(mixture):
    """q of every topology; float64 [105]."""
    return np.exp(mixture.log_topology_probability(mixture.support.encode(LISTED))).mean(axis=1)


def weighted_draws(mixture, seed=3):
    """Draws whose weights are 1 over their probability, as if all topologies of the support were as probable."""
    count, generator = 20_000, torch.Generator().manual_seed(seed)
    draw = draw_components(Estimator.A2A, mixture.n_components, None, generator)

    def log_weights(draws):
        log_q = np.logaddexp.reduce(mixture.log_topology_probability(draws.topologies), axis=1)
        return torch.from_numpy(math.log(mixture.n_components) - log_q).view(draws.log_q.shape[:2])

    trees = draw_weighted_trees(mixture, log_weights, draw, count, generator)
    return ImportancePass(trees, judge(Facts(count, trees.smoothed.pareto_k, trees.effective_sample_size)))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder; `runs` of it are found by the stub of load."""
    monkeypatch.chdir(tmp_path)
    runs = {}

    def load(path):
        mixture = runs[str(path)]
        return SimpleNamespace(taxa=TAXA, mixture=mixture, path=path, importance=weighted_draws(mixture))

    monkeypatch.setattr("vbpi_mix.phylo.compare.load", load)

    def add_run(name, mixture):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("format: vbpi-mix run\nversion: 1\n")
        runs[name] = mixture

    def add_sample(name, places, taxa=TAXA):
        (tmp_path / name).write_text("".join(to_newick(LISTED[k], taxa) + "\n" for k in places))

    return SimpleNamespace(path=tmp_path, add_run=add_run, add_sample=add_sample)


def figures(capsys, *arguments):
    main(["compare", *arguments, "--json", "-"])
    return json.loads(capsys.readouterr().out)


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(["compare", *arguments])
    assert stop.value.code == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.count("\n") == 1
    assert streams.err.startswith("error: ")
    return streams.err


# Figures


def test_a_run_against_a_sample_is_exact(folder, capsys):
    mixture = mixture_of(range(0, 60, 3))
    q = exact(mixture)
    inside, outside = np.flatnonzero(q > 0), np.flatnonzero(q == 0)
    places = [inside[0]] * 5 + [inside[1]] * 3 + [outside[0]] * 2
    folder.add_run("run", mixture)
    folder.add_sample("sample.tre", places)
    found = figures(capsys, "run", "sample.tre", "--draws", "20000")
    p = np.array([5, 3]) / 8
    assert found["mass_outside_support"] == pytest.approx(0.2)
    assert found["kl"] == pytest.approx(float(p @ np.log(p / q[inside[:2]])))
    assert found["kl_partial_sum"] == pytest.approx(0.8 * found["kl"] + 0.8 * math.log(0.8))
    assert found["kl_standard_error"] == 0
    assert found["first"]["what"] == "fit, A=2"
    assert found["first"]["topologies_for_95"] == 1 + np.argmax(np.cumsum(-np.sort(-q)) >= 0.95)
    assert found["second"]["topologies_for_50"] == 1
    assert found["second"]["topologies_for_95"] == 3


def test_two_runs_are_compared_by_draws(folder, capsys):
    first, second = mixture_of(range(0, 60, 3)), mixture_of(range(0, 60, 2), 3, seed=2)
    folder.add_run("first", first)
    folder.add_run("second", second)
    found = figures(capsys, "first", "second", "--draws", "50000", "--seed", "5")
    q, p = exact(first), exact(second)
    shared = (p > 0) & (q > 0)
    inside = p[shared] / p[shared].sum()
    kl = float(inside @ np.log(inside / q[shared]))
    assert found["mass_outside_support"] == pytest.approx(1 - p[shared].sum(), abs=0.01)
    assert found["kl_standard_error"] > 0
    assert found["kl"] == pytest.approx(kl, abs=0.02)
    assert figures(capsys, "first", "second", "--draws", "50000", "--seed", "5") == found
    assert figures(capsys, "first", "second", "--draws", "50000", "--seed", "6")["kl"] != found["kl"]


def test_a_sample_may_be_judged_by_a_run(folder, capsys):
    mixture = mixture_of(range(0, 60, 3))
    folder.add_run("run", mixture)
    folder.add_sample("sample.tre", np.repeat(np.arange(105), 2))
    found = figures(capsys, "sample.tre", "run", "--draws", "20000")
    q = exact(mixture)
    q = q[q > 0]
    assert found["kl"] == pytest.approx(float(q @ np.log(q * 105)), abs=0.03)
    assert found["mass_outside_support"] == 0


def test_weighted_draws_have_figures_of_their_own(folder, capsys):
    """Weights make all topologies of the support as probable: against a sample that has all of them, nothing is left."""
    mixture = mixture_of(range(0, 60, 3))
    inside = np.flatnonzero(exact(mixture) > 0)
    folder.add_run("run", mixture)
    folder.add_sample("even.tre", inside)
    folder.add_sample("half.tre", inside[: inside.size // 2])
    found = figures(capsys, "run", "even.tre")
    assert found["weighted_reliable"]
    assert found["asdsf"] > 0.02
    assert found["asdsf_weighted"] < 0.002
    assert found["total_variation_weighted"] < 0.01
    swapped = figures(capsys, "even.tre", "run")
    assert swapped["asdsf_weighted"] == pytest.approx(found["asdsf_weighted"])
    share = (inside.size // 2) / inside.size
    assert figures(capsys, "run", "half.tre")["total_variation_weighted"] == pytest.approx(1 - share, abs=0.01)
    folder.add_run("other", mixture_of(range(0, 60, 3), 3, seed=2))
    both = figures(capsys, "run", "other")
    assert both["asdsf"] > 0.02
    assert both["asdsf_weighted"] < 0.004
    assert figures(capsys, "run", "run")["total_variation_weighted"] == pytest.approx(0, abs=1e-12)
    main(["compare", "run", "even.tre"])
    assert "ASDSF, weighted draws" in capsys.readouterr().out
    none = figures(capsys, "even.tre", "half.tre")
    assert (none["asdsf_weighted"], none["total_variation_weighted"], none["weighted_reliable"]) == (None, None, None)


def test_identical_samples_do_not_differ(folder, capsys):
    folder.add_sample("a.tre", [1, 1, 5, 7])
    folder.add_sample("b.tre", [7, 1, 5, 1])
    found = figures(capsys, "a.tre", "b.tre")
    for name in ("kl", "kl_partial_sum", "mass_outside_support", "asdsf", "max_split_difference"):
        assert found[name] == 0, name


def test_samples_are_averaged_whatever_their_size(folder, capsys):
    folder.add_sample("rep_1.tre", [1, 1, 1])
    folder.add_sample("rep_2.tre", [5])
    folder.add_sample("even.tre", [1, 5])
    folder.add_sample("five.tre", [5])
    assert figures(capsys, "even.tre", "rep_1.tre", "rep_2.tre")["kl"] == 0
    assert figures(capsys, "even.tre", "rep_*.tre")["kl"] == 0
    assert figures(capsys, "rep_*.tre", "even.tre")["kl"] == 0
    found = figures(capsys, "rep_*.tre", "five.tre")
    assert found["kl"] == pytest.approx(math.log(2))
    assert found["mass_outside_support"] == 0
    found = figures(capsys, "five.tre", "rep_*.tre")
    assert found["kl"] == pytest.approx(0)
    assert found["mass_outside_support"] == 0.5


def test_nothing_in_common_is_null(folder, capsys):
    folder.add_sample("a.tre", [1])
    folder.add_sample("b.tre", [5])
    found = figures(capsys, "a.tre", "b.tre")
    assert found["kl"] is None
    assert found["mass_outside_support"] == 1.0
    main(["compare", "a.tre", "b.tre"])
    assert "no topology in common" in capsys.readouterr().out


def test_split_figures_by_hand(folder, capsys):
    """Topologies that differ in one split: half of one, and a quarter."""
    names = {"((Aa,'B b'),(c_c,'d''d'),(e,f));": 2, "((Aa,c_c),('B b','d''d'),(e,f));": 0}
    other = "((Aa,'B b'),(c_c,e),('d''d',f));"
    text = "".join((line + "\n") * count for line, count in names.items())
    (folder.path / "a.tre").write_text(text)
    (folder.path / "b.tre").write_text(text + (other + "\n") * 2)
    found = figures(capsys, "a.tre", "b.tre")
    # Of five splits (B b and Aa together in both) four differ by a half.
    assert found["max_split_difference"] == pytest.approx(0.5)
    assert found["asdsf"] == pytest.approx(4 * 0.5 / math.sqrt(2) / 5)
    assert found["asdsf_splits"] == 5
    assert (found["first"]["splits"], found["second"]["splits"]) == (3, 5)
    assert found["max_split_frequencies"] in ([1.0, 0.5], [0.0, 0.5])


def test_burn_in_is_dropped(folder, capsys):
    folder.add_sample("a.tre", [9] * 25 + [1] * 75)
    folder.add_sample("b.tre", [8] * 25 + [1] * 75)
    assert figures(capsys, "a.tre", "b.tre", "--burn-in", "0.25")["kl"] == 0
    assert figures(capsys, "a.tre", "b.tre", "--burn-in", "25")["kl"] == 0
    assert figures(capsys, "a.tre", "b.tre")["mass_outside_support"] == 0.25


def test_taxa_in_another_order_are_refused():
    sample = of_mixture(mixture_of(range(20)), TAXA, "one", 100, 1)
    other = of_mixture(mixture_of(range(20)), TAXA[::-1], "two", 100, 1)
    with pytest.raises(TreeError, match="another order"):
        compare(sample, other)


def test_a_sample_as_a_distribution(folder):
    folder.add_sample("a.tre", [1, 1, 5])
    found = of_sample(read_tree_sample(["a.tre"], TAXA), "a")
    log_p = found.log_probability(LISTED)
    assert np.flatnonzero(np.isfinite(log_p)).tolist() == [1, 5]
    assert np.exp(log_p[[1, 5]]) == pytest.approx([2 / 3, 1 / 3])


# What is printed and written


def test_the_printed_table(folder, capsys):
    folder.add_run("run", mixture_of(range(0, 60, 3)))
    folder.add_sample("sample.tre", range(0, 60, 3))
    main(["compare", "run", "sample.tre", "--draws", "1000"])
    out = capsys.readouterr().out
    assert "first   run  (fit, A=2; " in out
    assert "second  sample.tre  (tree sample, 20 topologies)" in out
    for label in (
        "topologies for 95%",
        "KL(second || first)",
        "mass outside",
        "ASDSF",
        "largest split difference",
    ):
        assert label in out


def test_all_files_are_written(folder, capsys):
    folder.add_sample("a.tre", [1, 1, 5, 7, 60])
    folder.add_sample("b.tre", [1, 5, 5, 80])
    main(["compare", "a.tre", "b.tre", "--json", "f.json", "--table", "t.csv", "--plot", "p"])
    assert "ASDSF" in capsys.readouterr().out
    found = json.loads((folder.path / "f.json").read_text())
    with (folder.path / "t.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    difference = [float(row["difference"]) for row in rows]
    assert abs(difference[0]) == pytest.approx(found["max_split_difference"], abs=1e-6)
    assert sorted(difference, key=lambda value: -abs(value)) == difference
    assert sum(float(row["first"]) for row in rows) == pytest.approx(3, abs=1e-5)
    for row in rows:
        members = row["members"].split(" | ")
        assert set(members) < set(TAXA)
        assert len(members) == int(row["size"]) <= 3
        assert float(row["first"]) - float(row["second"]) == pytest.approx(float(row["difference"]), abs=2e-6)
    png, svg = ((folder.path / f"p.{form}").read_bytes() for form in ("png", "svg"))
    assert png.startswith(PNG)
    assert b"<svg" in svg
    assert b"<dc:date>" not in svg
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "a.tre", "b.tre", "f.json", "p.png", "p.svg", "t.csv"
    ]  # fmt: skip
    main(["compare", "a.tre", "b.tre", "--plot", "p", "--force"])
    assert (folder.path / "p.svg").read_bytes() == svg
    assert (folder.path / "p.png").read_bytes() == png


def test_names_with_formula_signs_are_drawn(folder):
    folder.add_sample("a$x$_{.tre", [1, 5])
    folder.add_sample("b.tre", [1, 5])
    main(["compare", "a$x$_{.tre", "b.tre", "--plot", "p$"])
    assert (folder.path / "p$.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("option", ["--json", "--table", "--plot"])
def test_files_are_not_replaced_unless_forced(folder, capsys, option):
    folder.add_sample("a.tre", [1])
    name = "out.svg" if option == "--plot" else "out"
    (folder.path / name).write_text("mine")
    assert "--force" in refused(capsys, "a.tre", "a.tre", option, "out")
    assert (folder.path / name).read_text() == "mine"
    main(["compare", "a.tre", "a.tre", option, "out", "--force"])
    assert (folder.path / name).read_text() != "mine"


def test_one_file_for_two_outputs_is_refused(folder, capsys):
    folder.add_sample("a.tre", [1])
    assert "two outputs" in refused(capsys, "a.tre", "a.tre", "--json", "x.svg", "--plot", "x")
    assert "does not exist" in refused(capsys, "a.tre", "a.tre", "--json", "no/x.json")
    assert "is a folder" in refused(capsys, "a.tre", "a.tre", "--table", ".")


# What is refused


def test_a_sample_of_another_alignment_is_refused(folder, capsys):
    folder.add_run("run", mixture_of(range(20)))
    folder.add_sample("a.tre", [1])
    folder.add_sample("other.tre", [1], taxa=(*TAXA[:5], "stranger"))
    error = refused(capsys, "run", "other.tre")
    assert "not in the alignment: 'stranger'" in error
    assert "not in the tree: 'f'" in error
    error = refused(capsys, "a.tre", "other.tre")
    assert "not those of a.tre; not in a.tre: 'stranger'" in error


def test_what_is_no_run_and_no_sample_is_refused(folder, capsys):
    folder.add_run("run", mixture_of(range(20)))
    folder.add_sample("a.tre", [1])
    (folder.path / "empty").mkdir()
    (folder.path / "bad.tre").write_text("this is no tree\n")
    assert "not a run of vbpi-mix" in refused(capsys, "empty", "a.tre")
    assert "not a run of vbpi-mix" in refused(capsys, "run", "empty")
    assert "missing: no such file" in refused(capsys, "missing", "a.tre")
    assert "missing: no such file" in refused(capsys, "run", "missing")
    assert "no file matches" in refused(capsys, "run", "no*.tre")
    assert "bad.tre" in refused(capsys, "run", "bad.tre")
    assert "bad.tre" in refused(capsys, "bad.tre", "a.tre")
    assert "run: a folder" in refused(capsys, "a.tre", "a.tre", "run")
    assert "run: a folder" in refused(capsys, "a.tre", "run", "a.tre")


def test_bad_options_are_refused(folder, capsys):
    folder.add_run("run", mixture_of(range(20)))
    folder.add_sample("a.tre", [1])
    assert "--burn-in half" in refused(capsys, "a.tre", "a.tre", "--burn-in", "half")
    assert "burn_in=1.5" in refused(capsys, "a.tre", "a.tre", "--burn-in", "1.5")
    assert "drops all" in refused(capsys, "a.tre", "a.tre", "--burn-in", "1")
    assert "an alignment is for two samples" in refused(capsys, "run", "a.tre", "--alignment", "x.fasta")
    assert "no such file" in refused(capsys, "a.tre", "a.tre", "--alignment", "./x.fasta")
    with pytest.raises(SystemExit) as stop:
        main(["compare", "run"])
    assert stop.value.code == 2


def test_an_alignment_names_the_taxa(folder, capsys):
    folder.add_sample("a.tre", [1], taxa=tuple("abcdef"))
    (folder.path / "x.fasta").write_text("".join(f">{name}\nACGT\n" for name in "fedcba"))
    assert figures(capsys, "a.tre", "a.tre", "--alignment", "x.fasta")["kl"] == 0
    (folder.path / "y.fasta").write_text("".join(f">{name}\nACGT\n" for name in "abcdeg"))
    assert "not in the alignment: 'f'" in refused(capsys, "a.tre", "a.tre", "--alignment", "y.fasta")


# Taxa of a tree file


def nexus(body):
    return f'#NEXUS\n[ID: 1; "p" is it\'s translate 9 x;]\nbegin trees;\n{body}\nend;\n'


@pytest.mark.parametrize(
    ("text", "taxa"),
    [
        ("((b:1,a:2)0.9:3,'c c':1,(d,e));\n(a,b,c);\n", ("a", "b", "c c", "d", "e")),
        (nexus("translate 1 b, 2 'c; c',\n 3 a; tree one = [&U] (1,2,3);"), ("b", "c; c", "a")),
        (nexus("Translate\n1 b[x],\n2 c,3 a\n;\ntree x=[&W 1] (1,2,3);"), ("b", "c", "a")),
        (nexus("tree STATE_0 [&lnP=-1.0] = [&R] ((z:1,y:2):1,x[&rate=1]:3);"), ("x", "y", "z")),
        ("#NEXUS\nbegin taxa; taxlabels q 'r''s' p; end; begin trees; utree t=(p,q,r);end;",
         ("q", "r's", "p")),
    ],
)  # fmt: skip
def test_taxa_of_a_tree_file(folder, text, taxa):
    (folder.path / "x.tre").write_text(text)
    assert read_tree_taxa("x.tre") == taxa


@pytest.mark.parametrize("text", ["hello\n", "#NEXUS\nbegin trees;\nend;\n", "(a,b);\n", "(a,b,(a,c));\n"])
def test_files_without_taxa_are_refused(folder, text):
    (folder.path / "x.tre").write_text(text)
    with pytest.raises(TreeError, match=r"x\.tre: "):
        read_tree_taxa("x.tre")


# Benchmarks


def test_golden_against_short_runs_of_ds1(benchmark_data, capsys):
    folder = benchmark_data / "DS1"
    found = figures(
        capsys, str(folder / "golden/rep_*.trprobs.gz"), str(folder / "mrbayes_short/rep_*.trprobs.gz")
    )
    assert found["kl"] < 0.001
    assert found["asdsf"] < 0.001
    assert found["max_split_difference"] < 0.004
    # The 95% credible set that another group published has 42 topologies.
    assert found["first"]["topologies_for_95"] == 42
