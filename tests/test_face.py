"""The library without the command line: what `import vbpi_mix` offers, and that every example in it is true."""

from __future__ import annotations

import dataclasses
import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import vbpi_mix
from vbpi_mix.errors import ConfigError, RunExistsError
from vbpi_mix.phylo.branches.flows import FLOWS

ROOT = Path(__file__).resolve().parents[1]
FUNCTIONS = [name for name in vbpi_mix.__all__ if inspect.isfunction(getattr(vbpi_mix, name))]
METHODS = ["answer", "certainty", "consensus", "draw", "evaluate", "report", "resume", "sample_trees", "split_frequencies",
           "topologies", "tree_picture"]  # fmt: skip


def test_importing_it_costs_nothing():
    code = (
        "import sys; before = set(sys.modules); import vbpi_mix, vbpi_mix.phylo.config\n"
        "heavy = {'torch', 'numpy', 'numba', 'click', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert 'fit' in dir(vbpi_mix) and 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there():
    for name in vbpi_mix.__all__:
        assert getattr(vbpi_mix, name) is not None
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = vbpi_mix.nothing_of_ours


EXAMPLES = [
    *((name, getattr(vbpi_mix, name)) for name in FUNCTIONS),
    *((f"Run.{name}", getattr(vbpi_mix.Run, name)) for name in METHODS),
    ("FitConfig", vbpi_mix.FitConfig),
]


@pytest.mark.parametrize(("name", "documented"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_every_public_function_has_an_example_that_runs(name, documented, monkeypatch):
    monkeypatch.chdir(ROOT)
    examples = doctest.DocTestFinder(recurse=False).find(documented, name, globs={})
    assert sum(len(each.examples) for each in examples) >= 2, f"{name} shows no example"
    found = [doctest.DocTestRunner(verbose=False).run(each) for each in examples]
    assert sum(each.failed for each in found) == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short fit of two components to all that a tree file holds."""
    events = []
    made = vbpi_mix.fit(
        ROOT / "examples" / "eight.nex", ROOT / "examples" / "eight.nwk", components=2, sampled=1, iterations=30,
        threads=1, seed=3, out=tmp_path_factory.mktemp("face") / "eight.vbpi", progress=events.append,
    )  # fmt: skip
    made.events = events
    return made


def test_progress_is_a_callback(run, capsys):
    texts = [event.text for event in run.events if hasattr(event, "text")]
    assert any(text.startswith("8 taxa, 600 sites") for text in texts)
    assert run.events[-1].finished
    assert run.events[-1].iteration == 30
    assert capsys.readouterr() == ("", "")


def test_the_consensus_is_that_of_the_folder(run):
    assert f"{run.consensus().newick()}\n" == (run.path / "consensus.nwk").read_text()
    assert str(vbpi_mix.load(run.path).consensus()) == run.consensus().newick()


def test_trees_are_drawn_by_seed_in_random_order_and_not_only_whole_rounds(run):
    trees = run.sample_trees(5, seed=1)
    assert [tree.newick for tree in trees] == [tree.newick for tree in run.sample_trees(5, seed=1)]
    assert [tree.newick for tree in trees] != [tree.newick for tree in run.sample_trees(5, seed=2)]
    assert len({tree.newick for tree in trees}) == 5


def test_probabilities_of_topologies_and_splits_agree(run):
    assert sum(each.probability for each in run.topologies()) == pytest.approx(1.0)
    splits = run.split_frequencies()
    assert [each.frequency for each in splits] == sorted((each.frequency for each in splits), reverse=True)
    assert sum(each.frequency for each in splits) == pytest.approx(8 - 3)


def test_an_evaluation_is_returned_and_recorded(run):
    found = run.evaluate(importance_samples=20, repeats=2, threads=1)
    recorded = run.summary["marginal_log_likelihood"]
    assert [each["mean"] for each in recorded[:2]] == [found.published.mean, found.pooled.mean]


def test_a_fit_without_a_place_leaves_nothing_and_can_be_saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = vbpi_mix.fit(ROOT / "examples" / "eight.nex", ROOT / "examples" / "eight.nwk", iterations=5, threads=1)
    place = made.path
    assert (place / "consensus.nwk").exists()
    assert not list(tmp_path.iterdir())
    saved = made.save("kept.vbpi")
    with pytest.raises(RunExistsError):
        made.save("kept.vbpi")
    del made
    assert not place.exists()
    assert vbpi_mix.load("kept.vbpi").summary == saved.summary


def test_a_sample_and_an_alignment_may_be_objects():
    alignment = vbpi_mix.read_alignment(ROOT / "examples" / "eight.nex")
    sample = vbpi_mix.read_tree_sample([ROOT / "examples" / "eight.nwk"], alignment.taxa)
    made = vbpi_mix.fit(alignment, sample, iterations=5, threads=1)
    digest = made.config["alignment"].pop("sha256")
    assert len(digest) == 64
    assert made.config["alignment"] == {"file": None, "taxa": 8, "sites": 600, "type": None}


def test_choices_are_named_as_fields_and_refused_by_name():
    config = vbpi_mix.FitConfig.of(components=3, burn_in=0.25)
    assert (config.model.components, config.burn_in) == (3, 0.25)
    assert vbpi_mix.FitConfig.of(config, seed=2).model.components == 3
    with pytest.raises(ConfigError, match="componets is not an option of a fit"):
        vbpi_mix.FitConfig.of(componets=3)
    for choice, said in (
        ({"components": 0}, r"components \(A\) must be a whole number of at least 1, not 0"),
        ({"hpd": 1.5}, "hpd must be a number above 0 and at most 1, not 1.5"),
        ({"flow": "wave"}, f"flow must be one of {', '.join(FLOWS)}, not 'wave'"),
        ({"seed": True}, "seed must be a whole number"),
    ):
        with pytest.raises(ConfigError, match=said):
            vbpi_mix.FitConfig.of(**choice)


def test_a_bare_fit_is_the_default_configuration(run_command):
    assert run_command("fit", ROOT / "examples" / "eight.nex") == vbpi_mix.FitConfig()


def test_every_option_reaches_the_configuration(run_command):
    """Each field that has an option, given another value on the command line, arrives, and nothing else changes."""
    other = {
        "trees_from": "iqtree", "trees_seconds": 5.0, "widen": "nni", "burn_in": 0.25, "hpd": 0.9, "components": 3,
        "sampled": 1, "particles": 5, "estimator": "s2s", "branch": "split", "flow": "realnvp", "flow_layers": 3,
        "lengths": "lognormal", "support": "fixed",
        "flow_hidden": 7, "init": "em", "schedule": "paper", "iterations": 9, "seconds": 8.0, "learning_rate": 0.1,
        "answer_draws": 900, "seed": 4, "threads": 1, "prior_lengths": "exp:3", "constraint": "(a,b)", "fix_topology": "t.nwk",
        "substitution": "HKY+G4", "prior": "alpha=exp:2", "link": "alpha", "type": "dna", "partitions": "scheme.nex",
        "partitions_partial": True, "outgroup": "a,b", "prune": True, "weights": "learned",
        "device": "cuda",
    }  # fmt: skip
    from vbpi_mix.options import options_of

    known = {**options_of(vbpi_mix.ModelConfig), **options_of(vbpi_mix.FitConfig)}
    assert set(other) == {name for name, each in known.items() if each.help}
    for name, value in other.items():
        flag = f"--{known[name].letter or name.replace('_', '-')}"
        given = run_command("fit", ROOT / "examples" / "eight.nex", flag, *([] if value is True else [value]))
        assert given == vbpi_mix.FitConfig.of(**{name: value}), flag


@pytest.fixture
def run_command(monkeypatch):
    """run_command("fit", ...) -> the FitConfig that a command hands to the library, which fits nothing."""
    from vbpi_mix_cli.main import main

    caught = []

    def fit(*arguments, config, **others):
        caught.append(config)
        raise ConfigError("caught")

    monkeypatch.setattr("vbpi_mix.phylo.fit.fit", fit)

    def call(*arguments):
        with pytest.raises(SystemExit):
            main([str(each) for each in arguments])
        return caught[-1]

    return call


def test_configurations_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        vbpi_mix.FitConfig().seed = 2


def test_names_that_choices_are_made_of_are_those_of_the_parts():
    from vbpi_mix.estimators import Estimator
    from vbpi_mix.phylo import config
    from vbpi_mix.phylo.mixture import BRANCH_MODELS

    assert tuple(each.value for each in Estimator) == config.ESTIMATORS
    assert BRANCH_MODELS == config.BRANCH_MODELS
