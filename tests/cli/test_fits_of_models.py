"""Fits under other models than JC69, as a user has them: recorded, evaluated, compared, resumed, and the same by any threads."""

import json

import dendropy
import numpy as np
import pytest
import yaml

from vbpi_mix.phylo.run import load
from vbpi_mix.phylo.simulation import simulate

PARTITIONED = ("--partitions", "two.txt")
KINDS = {
    "gtr": ("six.nex", ("--model", "GTR+G4")),
    "parts": ("six.nex", (*PARTITIONED, "--link", "kappa")),
    "protein": ("protein.nex", ("--model", "LG+G4")),
    "held": ("six.nex", ("--model", "HKY{2}+FQ+G4{0.5}")),
}


@pytest.fixture
def kinds(six):
    """The folder with what each kind of fit reads."""
    (six / "two.txt").write_text("HKY, a = 1-.\\2\nHKY+G4, b = 2-.\\2\n")
    simulate(sites=40, model="LG", tree="six.nwk.txt", seed=2).write(six / "protein.nex")
    return six


def arguments_of(kind, iterations):
    alignment, model = KINDS[kind]
    return ("fit", alignment, *model, "--trees", "all.ufboot", "--iterations", iterations, "--answer-draws", 500, "--quiet")


def fit(run, kind, *options, out, iterations=60):
    outcome = run(*arguments_of(kind, iterations), "--out", out, *options)
    assert outcome.status == 0, outcome.err
    return outcome


def answers(folder):
    summary = json.loads((folder / "summary.json").read_text())
    return {name: summary[name] for name in ("marginal_log_likelihood", "parameters", "elbo")}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_by_any_number_of_threads(run, kinds, trace_without_seconds, kind):
    for threads in (1, 2):
        fit(run, kind, "--threads", threads, out=f"t{threads}.vbpi")
    one, two = kinds / "t1.vbpi", kinds / "t2.vbpi"
    assert len(trace_without_seconds(one)) > 4
    assert trace_without_seconds(one) == trace_without_seconds(two)
    assert answers(one) == answers(two)
    for name in ("consensus.nwk", "splits.csv", "topologies.trprobs"):
        assert (one / name).read_text() == (two / name).read_text()


@pytest.mark.parametrize("kind", ["gtr", "parts", "protein"])
def test_resume_continues_as_if_it_had_not_stopped(kinds, cut_and_resumed, kind):
    whole, cut, _ = cut_and_resumed(*arguments_of(kind, 60), "--threads", 1, parts=["model_parameters"])
    assert answers(whole) == answers(cut)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_loaded_evaluated_and_compared(run, kinds, kind):
    outcome = fit(run, kind, "--threads", 1, out="x.vbpi")
    assert "this is of " in outcome.out
    evaluated = run("eval", "x.vbpi", "--importance-samples", 200, "--repeats", 3, "--quiet")
    assert evaluated.status == 0, evaluated.err
    forms = json.loads((kinds / "x.vbpi" / "summary.json").read_text())["marginal_log_likelihood"]
    pooled, weighted = (next(each for each in forms if each["form"] == form) for form in ("pooled", "weighted"))
    assert pooled["mean"] == pytest.approx(weighted["mean"], abs=0.5)
    compared = run("compare", "x.vbpi", "x.vbpi", "--draws", 200)
    assert compared.status == 0, compared.err


def test_the_evidence_says_what_it_is_of(run, kinds):
    def line(*options):
        arguments = ("--trees", "all.ufboot", "--iterations", 2, "--threads", 1, "--answer-draws", 50, "--quiet", "--force")
        # Lines that go on begin with blanks.
        lines = run("fit", "six.nex", *arguments, *options).out.replace("\n  ", " ").splitlines()
        found = [each for each in lines if each.startswith("this is of")]
        assert len(found) == 1
        return found[0]

    assert line() == "this is of JC; branch lengths exp:10; all topologies alike"
    assert line("--model", "hky+g", "--prior", "alpha=exp:2", "--prior-lengths", "gammadir:1,0.1,1,1") == (
        "this is of HKY+G4; priors alpha=exp:2; branch lengths gammadir:1,0.1,1,1; all topologies alike"
    )
    assert line(*PARTITIONED, "--link", "kappa", "--constraint", "(t01,t02)") == (
        "this is of 2 parts (HKY, HKY+G4); sharing kappa; branch lengths exp:10; every topology has 1 given split"
    )


def test_the_configuration_records_models_priors_and_parts(run, kinds):
    fit(run, "parts", "--threads", 1, "--prior", "alpha=gamma:2,3", out="x.vbpi", iterations=2)
    config = yaml.safe_load((kinds / "x.vbpi" / "config.yaml").read_text())
    common = {"characters": "dna", "sites": 60}
    odd, even = ({"positions": f"{first}-{first + 118}\\2"} for first in (1, 2))
    known = {"kappa": "beta:1,1", "frequencies": "dirichlet:1"}
    assert config["parts"] == [
        {"name": "a", "model": "HKY", "priors": known, **common, **odd},
        {"name": "b", "model": "HKY+G4", "priors": {**known, "alpha": "gamma:2,3"}, **common, **even},
    ]
    assert config["model"]["prior"] == "alpha=gamma:2,3"
    assert config["model"]["link"] == "kappa"
    assert config["priors"]["lengths"] == "exp:10"
    assert config["priors"]["multipliers"] == "dirichlet:1"
    assert config["partitions"] == {"file": "two.txt", "partial": False}
    assert config["alignment"]["type"] is None


def test_a_model_before_ranges_is_the_model_of_these_sites(run, kinds):
    (kinds / "two.nex").write_text("#NEXUS\nbegin sets; charpartition m = HKY+G4: 1-60, hky: 61-.; end;\n")
    arguments = ("--trees", "all.ufboot", "--iterations", 2, "--threads", 1, "--force", "--out", "x.vbpi")
    outcome = run("fit", "six.nex", "--partitions", "two.nex", *arguments)
    assert "JC" not in outcome.out + outcome.err
    config = yaml.safe_load((kinds / "x.vbpi" / "config.yaml").read_text())
    assert [(part["name"], part["model"]) for part in config["parts"]] == [("1-60", "HKY+G4"), ("61-.", "hky")]


def test_a_bare_fit_says_that_it_assumes_jc69(run, kinds):
    arguments = ("fit", "six.nex", "--trees", "all.ufboot", "--iterations", 2, "--threads", 1, "--force")
    bare, named = run(*arguments), run(*arguments, "--model", "JC69")
    assert [line for line in bare.err.splitlines() if "JC69" in line] == [
        "nucleotides under JC69, as no other model is named: --model GTR+G4 is another (docs/models.md lists all)"
    ]
    assert "JC69" not in named.err
    assert bare.out.split(", bound")[1] == named.out.split(", bound")[1]


def test_the_consensus_is_rooted_at_the_outgroup(run, kinds):
    arguments = ("fit", "six.nex", "--trees", "all.ufboot", "--iterations", 2, "--threads", 1, "--quiet", "--force")
    plain = run(*arguments)
    before = (kinds / "six.vbpi" / "consensus.nwk").read_text()
    outcome = run(*arguments, "--outgroup", "t03")
    assert outcome.out.split(", bound")[1] == plain.out.split(", bound")[1]
    newick = (kinds / "six.vbpi" / "consensus.nwk").read_text()
    assert newick != before
    tree = dendropy.Tree.get(data=newick, schema="newick", preserve_underscores=True, rooting="force-rooted")
    below = sorted(sorted(leaf.taxon.label for leaf in child.leaf_iter()) for child in tree.seed_node.child_node_iter())
    assert below == [["t01", "t02", "t04", "t05", "t06"], ["t03"]]
    assert f"{load('six.vbpi').consensus()}\n" == newick
    assert yaml.safe_load((kinds / "six.vbpi" / "config.yaml").read_text())["answer"]["outgroup"] == "t03"
    before = sorted(path.name for path in kinds.iterdir())
    for taxa, words in (("t09", "t09"), ("t01,t02,t03,t04,t05,t06", "all 6 taxa"), ("t01,t01", "named twice")):
        assert words in run(*arguments, "--out", "y.vbpi", "--outgroup", taxa).error_line()
    assert sorted(path.name for path in kinds.iterdir()) == before


def test_each_kind_of_a_mixed_alignment_has_a_model(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "\n".join(f"{name} {row}" for name, row in zip("abcd", ("0101ACGT", "0110ACCT", "0011AGGT", "0000ACGA"), strict=True))
    (tmp_path / "mixed.nex").write_text(
        f"#NEXUS\nbegin data; dimensions ntax=4 nchar=8; format datatype=mixed(standard:1-4,dna:5-8);\nmatrix\n{rows}\n;\nend;\n"
    )
    arguments = ("--trees-seconds", 1, "--iterations", 2, "--threads", 1, "--answer-draws", 50)
    outcome = run("fit", "mixed.nex", "--model", "HKY+G4", *arguments)
    assert "discrete characters under MK, as no other model is named" in outcome.err
    assert "nucleotides under" not in outcome.err
    assert "this is of 2 parts (MK, HKY+G4);" in outcome.out


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Nested models of data that were simulated under HKY with strong bias, and under JC69: tables by what is true."""
    from vbpi_mix import compare_models

    found = {}
    for name, model in (("JC", "JC"), ("HKY", "HKY{6}+F{0.4,0.1,0.1,0.4}")):
        made = simulate(taxa=5, sites=300, model=model, seed=4)
        from vbpi_mix.phylo.trees.sample import TreeSample
        from vbpi_mix.phylo.trees.topology import enumerate_topologies

        children = enumerate_topologies(5)
        shares = np.full(len(children), 1.0 / len(children))
        sample = TreeSample(
            made.alignment.taxa, children, shares, np.arange(len(children), dtype=np.int32), shares, None, ("all",)
        )
        found[name] = made, sample, compare_models(
            made.alignment, ["JC", "HKY", "GTR+G4"], sample, iterations=300, answer_draws=4000, threads=1
        )
    return found


@pytest.mark.parametrize("truth", ["JC", "HKY"])
def test_bayes_factors_of_nested_models_have_the_right_sign(compared, truth):
    _, _, table = compared[truth]
    assert table[0].model == truth
    assert [each.log_evidence for each in table] == sorted((each.log_evidence for each in table), reverse=True)
    for each in table:
        assert each.log_bayes_factor == each.log_evidence - table[0].log_evidence
        assert each.model == truth or each.log_bayes_factor < -2.0
        assert each.parameters == {"JC": 0, "HKY": 4, "GTR+G4": 9}[each.model]


def test_the_evidence_of_a_model_is_that_of_its_fit(compared):
    import vbpi_mix

    made, sample, table = compared["JC"]
    run = vbpi_mix.fit(made.alignment, sample, iterations=300, answer_draws=4000, threads=1)
    (alone,) = (each for each in run.summary["marginal_log_likelihood"] if each["form"] == "weighted")
    (there,) = (each for each in table if each.model == "JC")
    assert there.log_evidence == alone["mean"]


def test_models_writes_its_table_as_json(run, kinds):
    outcome = run(
        "models", "six.nex", "--try", "JC,HKY{2}+F{0.25,0.25,0.25,0.25},HKY+G4", "--prior", "alpha=exp:2",
        "--trees", "all.ufboot", "--iterations", 20, "--threads", 1, "--answer-draws", 100, "--out", "table.json", "--quiet",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    rows = json.loads((kinds / "table.json").read_text())
    assert [row["parameters"] for row in sorted(rows, key=lambda row: row["model"])] == [5, 0, 0]
    assert rows[0]["log_bayes_factor"] == 0.0
    for row in rows:
        assert row.keys() == {
            "model", "parameters", "log_evidence", "error", "log_bayes_factor", "pareto_k", "verdict", "seconds"
        }  # fmt: skip
    shown = outcome.out.splitlines()
    assert shown[0].split()[0] == "model"
    assert [line.split()[0] for line in shown[1:4]] == [row["model"] for row in rows]


def test_a_model_whose_evidence_is_unknown_comes_last():
    from vbpi_mix.phylo.model_choice import ModelEvidence, ranked
    from vbpi_mix_cli.models import table

    unknown = ModelEvidence("GTR", 8, None, None, None, None, "do not trust", 1.0)
    known = [ModelEvidence(name, 0, value, 0.1, None, 0.2, "trust", 1.0) for name, value in (("JC", -12.0), ("HKY", -10.0))]
    found = ranked([unknown, *known])
    assert [each.model for each in found] == ["HKY", "JC", "GTR"]
    assert [each.log_bayes_factor for each in found] == [0.0, -2.0, None]
    assert table(found)[3].split() == ["GTR", "8", "unknown", "do", "not", "trust"]
    assert [each.log_bayes_factor for each in ranked([unknown])] == [None]
