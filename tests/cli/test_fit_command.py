"""fit, eval and loglik as a user types them."""

import json
import subprocess
import sys

import dendropy
import numpy as np
import pytest
import torch
import yaml

from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.run import load
from vbpi_mix.phylo.trees.sample import read_tree_sample

FIT = ("fit", "six.nex", "--trees", "all.ufboot", "--iterations", 60, "--threads", 1, "--quiet")


def test_fit_writes_a_run_that_other_programs_read(run, six, evidence_of_six):
    outcome = run(*FIT, "--A", 2, "--S", 1, "--estimator", "s2a")
    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith("six.vbpi: all done after 60 iterations")
    assert outcome.err == ""
    place = six / "six.vbpi"
    names = {p.name for p in place.iterdir()}
    assert names == {
        "config.yaml", "checkpoint.pt", "trace.csv", "log.txt", "summary.json", "topologies.trprobs", "consensus.nwk",
        "splits.csv", "report.html",
    }  # fmt: skip
    summary = json.loads((place / "summary.json").read_text())
    assert {k: summary[k] for k in ("A", "S", "K", "estimator", "seed", "iterations")} == {
        "A": 2, "S": 1, "K": 10, "estimator": "s2a", "seed": 1, "iterations": 60,
    }  # fmt: skip
    assert summary["seconds"] > 0
    assert summary["seconds_per_iteration"] > 0
    assert evidence_of_six - 0.4 < summary["elbo"] < evidence_of_six
    assert set(summary["versions"]) >= {"python", "torch", "numpy", "numba", "vbpi_mix"}
    config = yaml.safe_load((place / "config.yaml").read_text())
    assert config["parts"] == [{"name": "all", "characters": "dna", "sites": 120, "positions": "1-120", "model": "JC69"}]
    assert config["model"] == {
        "model": None, "prior": "", "link": "", "A": 2, "S": 1, "K": 10, "estimator": "s2a", "branch": "psp", "lengths": "gamma",
        "weights": "uniform", "flow": "none", "flow_layers": None, "flow_hidden": None, "init": "warm",
        "pair_rate": 0.2,
    }  # fmt: skip
    assert config["training"]["iterations"] == 60
    assert config["training"]["learning_rate"] == 1e-4

    taxa = read_alignment("six.nex").taxa
    tree = dendropy.Tree.get(path=str(place / "consensus.nwk"), schema="newick")
    assert {leaf.taxon.label for leaf in tree.leaf_node_iter()} == set(taxa)
    inner = [n for n in tree.preorder_internal_node_iter() if n.parent_node is not None]
    assert all(0.5 < float(n.label) <= 1 for n in inner)
    assert all(n.edge.length > 0 for n in tree.preorder_node_iter() if n.parent_node is not None)
    listed = dendropy.TreeList.get(path=str(place / "topologies.trprobs"), schema="nexus")
    sample = read_tree_sample([place / "topologies.trprobs"], taxa)
    assert len(listed) == sample.weights.size
    weights = [float(line.split("[&W ")[1].split("]")[0])
               for line in (place / "topologies.trprobs").read_text().splitlines() if "[&W" in line]  # fmt: skip
    assert 0.9 < sum(weights) <= 1 + 1e-6
    assert weights == sorted(weights, reverse=True)


def test_eval_adds_both_forms_to_the_newest_run(run, six, evidence_of_six):
    assert run(*FIT, "--A", 2, "--S", 2, "--estimator", "a2a").status == 0
    outcome = run("eval", "--importance-samples", 50, "--repeats", 4, "--threads", 1, "--quiet")
    assert outcome.status == 0, outcome.err
    assert "marginal log-likelihood (published)" in outcome.out
    assert "effective sample size" in outcome.out
    estimates = json.loads((six / "six.vbpi" / "summary.json").read_text())["marginal_log_likelihood"]
    assert [e["form"] for e in estimates] == ["published", "pooled", "weighted"]
    assert set(estimates[2]) == {"form", "mean", "error", "draws"}
    for estimate in estimates[:2]:
        assert set(estimate) == {"form", "mean", "sd", "importance_samples", "repeats"}
        assert (estimate["importance_samples"], estimate["repeats"]) == (50, 4)
        assert estimate["mean"] == pytest.approx(evidence_of_six, abs=0.6)
        assert 0 < estimate["sd"] < 1
    assert estimates[2]["mean"] == pytest.approx(evidence_of_six, abs=0.1)
    assert estimates[0]["mean"] <= estimates[1]["mean"] + 1e-9
    again = run("eval", "six.vbpi", "--importance-samples", 50, "--repeats", 4, "--threads", 1, "--quiet")
    assert again.out.splitlines()[:2] == outcome.out.splitlines()[:2]


def test_loglik_prints_one_number(run, six, benchmark_data):
    outcome = run("loglik", "six.nex", "six.nwk.txt", "--model", "JC69")
    assert outcome.status == 0
    assert outcome.out.strip().split(".")[1].isdigit()
    assert len(outcome.out.strip().split(".")[1]) == 6
    oracle = benchmark_data.parent / "oracles" / "likelihood_iqtree.json"
    if not oracle.exists():
        pytest.skip(f"no oracle file {oracle}")
    row = next(r for r in json.loads(oracle.read_text()) if (r["dataset"], r["model"]) == ("DS1", "JC69"))
    (six / "tree.nwk").write_text(row["newick"])
    value = float(run("loglik", benchmark_data / "DS1" / "DS1.nex", "tree.nwk").out)
    assert value == pytest.approx(row["log_likelihood"], abs=1e-3)


@pytest.mark.parametrize(
    ("estimator", "flow"), [("a2a", "none"), ("s2a", "none"), ("s2s", "none"), ("s2a", "planar"), ("a2a", "realnvp")]
)
def test_same_seed_same_trace_whatever_the_threads(run, six, trace_without_seconds, estimator, flow):
    traces = []
    for threads in (1, 2):
        sampled = 8 if estimator == "a2a" else 4
        outcome = run(
            "fit", "six.nex", "--trees", "all.ufboot", "--iterations", 40, "--threads", threads, "--quiet", "--A", 8,
            "--S", sampled, "--estimator", estimator, "--flow", flow, "--out", f"t{threads}.vbpi",
        )  # fmt: skip
        assert outcome.status == 0, outcome.err
        traces.append(trace_without_seconds(six / f"t{threads}.vbpi"))
    assert len(traces[0]) == 1 + 4
    assert traces[0] == traces[1]


@pytest.mark.parametrize("flow", ["none", "planar", "realnvp"])
def test_resume_continues_as_if_it_had_not_stopped(cut_and_resumed, flow):
    """Also what only some fits have: the flow's weights."""
    parts = ("logits", "features") if flow == "none" else ("logits", "features", "flow")
    _, _, state = cut_and_resumed(*FIT, "--flow", flow, parts=parts)
    for weights in state.get("flow", {}).values():
        assert (weights != 0.0).any()


def test_resume_says_that_the_alignment_has_changed(run, six):
    arguments = ("fit", "six.nex", "--trees", "all.ufboot", "--iterations", 4, "--threads", 1, "--quiet")
    assert run(*arguments).status == 0
    assert "is not the file" not in run("fit", "--resume", "six.vbpi", "--iterations", 6).err
    before = (six / "six.vbpi" / "topologies.trprobs").read_text()
    text = (six / "six.nex").read_text()
    (six / "six.nex").write_text(text.replace("A", "C"))
    outcome = run("fit", "--resume", "six.vbpi", "--iterations", 6)
    assert "warning: six.nex is not the file that this run began with; the run goes on with the data that it holds" in outcome.err
    assert (six / "six.vbpi" / "topologies.trprobs").read_text() == before
    (six / "six.nex").unlink()
    assert "is not the file" not in run("fit", "--resume", "six.vbpi", "--iterations", 6).err


def test_resume_extends_a_run_and_drops_its_evaluation(run, six):
    assert run(*FIT, "--A", 2).status == 0
    before = json.loads((six / "six.vbpi" / "summary.json").read_text())
    assert run("eval", "six.vbpi", "--importance-samples", 50, "--repeats", 2, "--quiet").status == 0
    evaluated = json.loads((six / "six.vbpi" / "summary.json").read_text())
    assert evaluated.keys() > before.keys()
    outcome = run("fit", "--resume", "six.vbpi")
    assert "nothing left to train: the run is at its end, after 60 iterations" in outcome.err
    assert json.loads((six / "six.vbpi" / "summary.json").read_text()).keys() == evaluated.keys()
    assert "50 iterations in all asked for" in run("fit", "--resume", "six.vbpi", "--iterations", 50).error_line()
    outcome = run("fit", "--resume", "six.vbpi", "--iterations", 90, "--quiet")
    assert outcome.out.startswith("six.vbpi: all done after 90 iterations"), outcome.err
    assert json.loads((six / "six.vbpi" / "summary.json").read_text()).keys() == before.keys()
    seconds = json.loads((six / "six.vbpi" / "summary.json").read_text())["seconds"]
    outcome = run("fit", "--resume", "six.vbpi", "--seconds", seconds + 0.3, "--quiet")
    assert outcome.out.startswith("six.vbpi: time up after "), outcome.err
    recorded = yaml.safe_load((six / "six.vbpi" / "config.yaml").read_text())["training"]
    assert (recorded["iterations"], recorded["seconds"]) == (None, seconds + 0.3)


def test_sample_beside_the_alignment_is_found_and_named(run, six):
    (six / "six.ufboot").write_text((six / "all.ufboot").read_text())
    outcome = run("fit", "six.nex", "--iterations", 20, "--threads", 1, "--A", 1)
    assert outcome.status == 0, outcome.err
    assert "tree sample found beside the alignment: six.ufboot" in outcome.err
    assert "iteration 20" in outcome.err


@pytest.mark.parametrize(
    ("option", "off"),
    [
        (("--branch", "split"), 3),
        (("--init", "flat"), 40),
        (("--init", "average"), 40),
        (("--init", "em", "--flow", "planar", "--flow-layers", 3), 40),
        (("--flow", "realnvp", "--flow-layers", 5, "--flow-hidden", 7, "--branch", "split"), 3),
    ],
)
def test_other_models_fit_and_are_evaluated(run, six, evidence_of_six, option, off):
    """Sixty iterations take a warm start near to the evidence, and the others on their way; no bound is above it."""
    assert run(*FIT, *option).status == 0
    outcome = run("eval", "six.vbpi", "--importance-samples", 50, "--repeats", 5)
    assert outcome.status == 0, outcome.err
    summary = json.loads((six / "six.vbpi" / "summary.json").read_text())
    published, pooled = (form["mean"] for form in summary["marginal_log_likelihood"][:2])
    assert evidence_of_six - off < published < pooled < evidence_of_six + 0.5
    assert evidence_of_six - 3 * off < summary["elbo"] < published



@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--flow", "realnvp", "--flow-layers", 0), "error: --flow-layers must be a whole number of at least 1, not 0"),
        (("--flow", "planar", "--flow-hidden", 5), "5 hidden units for flow planar, which has none"),
        (("--flow-layers", 5), "give planar or realnvp"),
        (("--learning-rate", 0), "error: --learning-rate must be a number above 0"),
    ],
)
def test_choices_that_do_not_fit_are_refused_before_trees_are_made(run, six, options, said):
    outcome = run("fit", "six.nex", "--trees-from", "mcmc", "--trees-seconds", 1000, *options)
    assert outcome.status == 2
    assert said in outcome.err
    assert "making one" not in outcome.err
    assert not (six / "six.vbpi").exists()


@pytest.mark.parametrize(
    ("entry", "value", "said"),
    [
        ("pair_rate", "fast", "model: pair_rate of its config.yaml must be a number above 0, not 'fast'"),
        ("pair_rate", None, "model: pair_rate of its config.yaml must be a number above 0, not None"),
        ("K", "ten", "model: K of its config.yaml must be a whole number of at least 1"),
        ("flow", "wave", "model: flow of its config.yaml must be one of none, planar, realnvp, spline"),
        ("A", 3, "A of its config.yaml is 3, but its checkpoint was made with 2: put that back"),
        ("branch", None, "model: branch of its config.yaml must be one of psp, split"),
    ],
)
def test_an_edited_configuration_is_refused_by_its_entry(run, six, entry, value, said):
    run(*FIT, "--A", 2, "--S", 1)
    place = six / "six.vbpi" / "config.yaml"
    config = yaml.safe_load(place.read_text())
    config["model"][entry] = value
    place.write_text(yaml.safe_dump(config))
    for command in (("eval", "six.vbpi"), ("fit", "--resume", "six.vbpi")):
        outcome = run(*command)
        assert outcome.status == 2, command
        assert said in outcome.err


def test_a_start_with_a_flow_and_a_start_without_one_are_near_the_posterior(run, six, evidence_of_six):
    """Without training: the bound of one sample of the problem as it is built is within 0.3 nats of the evidence."""
    for flow in ("none", "realnvp"):
        run("fit", "six.nex", "--trees", "all.ufboot", "--iterations", 1, "--learning-rate", 1e-12, "--threads", 1,
            "--quiet", "--A", 2, "--flow", flow, "--force")  # fmt: skip
        run("eval", "six.vbpi", "--importance-samples", 200, "--repeats", 10, "--quiet")
        summary = json.loads((six / "six.vbpi" / "summary.json").read_text())
        assert evidence_of_six - 0.3 < summary["elbo"] < evidence_of_six - 0.05
        assert summary["marginal_log_likelihood"][1]["mean"] == pytest.approx(evidence_of_six, abs=0.15)


@pytest.mark.parametrize(
    ("options", "lengths"),
    [((), "gamma"), (("--lengths", "lognormal"), "lognormal"), (("--schedule", "paper"), "lognormal"),
     (("--schedule", "paper", "--lengths", "gamma"), "gamma")],
)  # fmt: skip
def test_base_density_is_chosen_recorded_and_loaded(run, six, options, lengths):
    assert run(*FIT[:5], 3, "--threads", 1, "--quiet", "--A", 2, *options).status == 0
    config = yaml.safe_load((six / "six.vbpi" / "config.yaml").read_text())
    assert config["model"]["lengths"] == lengths
    loaded = load("six.vbpi")
    assert loaded.problem.trees.base.name == lengths
    state = torch.load(six / "six.vbpi" / "checkpoint.pt", weights_only=True)["problem"]
    torch.testing.assert_close(loaded.problem.trees.features, state["features"], rtol=0, atol=0, check_stride=False)


def test_flat_start_is_flat(run, six):
    run("fit", "six.nex", "--trees", "all.ufboot", "--iterations", 1, "--learning-rate", 1e-12, "--init", "flat",
        "--threads", 1, "--quiet", "--A", 1)  # fmt: skip
    state = torch.load(six / "six.vbpi" / "checkpoint.pt", weights_only=True)["problem"]
    assert state["logits"].abs().max() < 1e-9


def test_a_warm_start_weighs_topologies_by_their_likelihood_and_not_by_the_sample(run, six):
    """A topology that the sample has two thousand times of two thousand and odd is no more probable for that."""
    lines = (six / "all.ufboot").read_text().splitlines()
    probabilities = []
    for k in (7, 40):
        (six / "heavy.ufboot").write_text("\n".join([*lines, *([lines[k]] * 2000)]) + "\n")
        run("fit", "six.nex", "--trees", "heavy.ufboot", "--iterations", 1, "--learning-rate", 1e-12, "--threads", 1,
            "--quiet", "--A", 1, "--force")  # fmt: skip
        own = load("six.vbpi").answer(weighted=False)
        pairs = zip(own.children, own.topologies.probabilities, strict=True)
        probabilities.append({tree.tobytes(): p for tree, p in pairs})
    shared = probabilities[0].keys() & probabilities[1].keys()
    assert len(shared) > 10
    assert max(abs(probabilities[0][tree] - probabilities[1][tree]) for tree in shared) < 0.2


def test_weights_of_the_sample_reach_the_start(run, six):
    """EM on a sample in which one topology has most of the weight makes it most probable."""
    lines = (six / "all.ufboot").read_text().splitlines()
    (six / "heavy.ufboot").write_text("\n".join([*lines, *([lines[7]] * 2000)]) + "\n")
    run("fit", "six.nex", "--trees", "heavy.ufboot", "--iterations", 1, "--learning-rate", 1e-12, "--threads", 1,
        "--quiet", "--A", 1, "--init", "em")  # fmt: skip
    own = load("six.vbpi").answer(weighted=False)
    heavy = read_tree_sample([six / "heavy.ufboot"], read_alignment("six.nex").taxa)
    np.testing.assert_array_equal(own.children[0], heavy.children[0])
    assert own.topologies.probabilities[0] > 0.8


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"]])
def test_help_is_quick_to_load(arguments):
    """No numerical library is imported for --help, though the options of fit come from its configuration."""
    code = (
        "import sys; from vbpi_mix_cli.main import main\n"
        f"try: main({arguments})\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'numba', 'Bio', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "fit" in done.stdout


def test_every_command_shows_help_with_an_example(run):
    from vbpi_mix_cli.main import COMMANDS

    for name in COMMANDS:
        outcome = run(name, "--help")
        assert outcome.status == 0, name
        assert f"vbpi-mix {name}" in outcome.out.split("Example")[1], name


def test_alignment_alone_is_enough(run, six, monkeypatch):
    """No tree sample, no other program: the sampler makes one, and the run keeps it."""
    monkeypatch.setenv("PATH", "")
    (six / "alone").mkdir()
    (six / "six.nex").rename(six / "alone" / "mine.nex")
    outcome = run("fit", "alone/mine.nex", "--iterations", 30, "--threads", 1, "--trees-seconds", 5)
    assert outcome.status == 0, outcome.err
    assert "tree sample made: mcmc" in outcome.err
    config = yaml.safe_load((six / "mine.vbpi" / "config.yaml").read_text())
    assert config["trees"]["made"]["source"] == "mcmc"
    taxa = read_alignment("alone/mine.nex").taxa
    sample = read_tree_sample([six / "mine.vbpi" / "tree_sample.trprobs"], taxa)
    assert sample.weights.sum() == pytest.approx(1.0)
    assert json.loads((six / "mine.vbpi" / "summary.json").read_text())["held_out_coverage"] > 0.5


def test_benchmark_by_name_in_an_empty_folder(run, tmp_path, monkeypatch, benchmark_data):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VBPI_MIX_DATA", str(benchmark_data))
    outcome = run("fit", "DS1.nex", "--iterations", 3, "--threads", 1, "--A", 1)
    assert outcome.status == 0, outcome.err
    assert "no file DS1.nex here: using the benchmark data set" in outcome.err
    assert "tree sample found beside the alignment" in outcome.err
    assert (tmp_path / "DS1.vbpi" / "consensus.nwk").exists()


def test_widened_support_is_larger(run, six):
    elements = []
    lines = (six / "all.ufboot").read_text().splitlines()
    (six / "few.ufboot").write_text("\n".join([lines[0]] * 3 + [lines[1]]) + "\n")
    for widen in ("none", "nni"):
        outcome = run("fit", "six.nex", "--trees", "few.ufboot", "--iterations", 5, "--threads", 1, "--quiet", "--A", 1,
                      "--widen", widen, "--out", f"{widen}.vbpi")  # fmt: skip
        assert outcome.status == 0, outcome.err
        elements.append(json.loads((six / f"{widen}.vbpi" / "summary.json").read_text())["support_elements"])
    assert elements[1] > elements[0]
