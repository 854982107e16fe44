"""Tree samples by other programs, real ones where they are installed and scripts that fail in their ways."""

from __future__ import annotations

import os
import shutil
import tempfile
import time

import numpy as np
import pytest
from chain_helpers import LETTERS

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.data.alignment import Alignment, read_alignment
from vbpi_mix.phylo.data.site_patterns import SitePatterns, compress
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.priors import ExponentialLengths, GammaDirichletLengths
from vbpi_mix.phylo.models.topology_prior import TopologyPrior
from vbpi_mix.phylo.sampling import programs as tree_programs
from vbpi_mix.phylo.sampling.programs import ProgramError
from vbpi_mix.phylo.sampling.sources import describe_source, obtain_tree_sample, write_trprobs
from vbpi_mix.phylo.sbn.splits import average_standard_deviation, split_frequencies, unite
from vbpi_mix.phylo.trees.sample import read_tree_sample

# Names that no other program reads without harm.
TAXA = ("Homo sapiens", "it's (a) taxon", "t1", "a;b", "[x]", "Ünïcode")


@pytest.fixture
def alignment():
    rng = np.random.default_rng(2)
    states = np.repeat(LETTERS[rng.integers(0, 4, (1, 60))], 6, axis=0)
    changed = rng.random(states.shape) < 0.15
    states[changed] = LETTERS[rng.integers(0, 4, changed.sum())]
    states[3] = states[2]
    return Alignment(TAXA, states)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where temporary folders are made; it must be empty in the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a shell script under a name; no other program is found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    # Asked for its version, a script does here what it does elsewhere.
    monkeypatch.chdir(tmp_path)

    def find(names):
        return next((str(folder / name) for name in names if (folder / name).exists()), None)

    monkeypatch.setattr(tree_programs, "find_program", find)
    monkeypatch.setattr(tree_programs, "has_library", lambda: False)

    def write(name, body):
        script = folder / name
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)

    return write


def test_our_own_sampler_is_always_there(alignment, install):
    sample, facts = obtain_tree_sample(alignment, generations=4000, seed=5)
    assert sample.taxa == TAXA
    assert facts["source"] == "mcmc"
    assert facts["asked_for"] == "auto"
    assert facts["topologies"] == len(sample.weights)
    assert facts["generations"] == 4000
    assert "seed 5, 4,000 generations, ASDSF" in describe_source(facts)
    assert 0 < facts["weight_error"] < 0.5


def test_a_sample_of_rising_chains_is_called_one(alignment):
    _, facts = obtain_tree_sample(alignment, generations=4000, until="coverage")
    assert facts["options"]["until"] == "coverage"
    assert facts["rising"] is False
    assert 0 <= facts["new_mass"] < 0.5
    assert "rising" not in describe_source(facts)
    assert describe_source(facts | {"rising": True}).endswith("; the log posterior was still rising: give more seconds")


def test_programs_are_told_model_and_prior_in_their_words():
    posterior = Posterior(SitePatterns(np.ones((4, 1), np.uint8), np.ones(1)), branch_prior=ExponentialLengths(7.5))
    script = tree_programs._mrbayes_script(posterior, 2, 1000, None, seed=1)
    assert "lset nst=1 rates=equal;\nprset statefreqpr=fixed(equal);\n" in script
    assert "prset topologypr=uniform;\nprset brlenspr=unconstrained:exponential(7.5);\n" in script
    assert posterior.model.iqtree == "JC"


def test_a_budget_that_ends_is_said(alignment):
    _, facts = obtain_tree_sample(alignment, "mcmc", seconds=0.1, asdsf=1e-9)
    assert not facts["agreed"]
    assert "the budget ended before the chains agreed" in describe_source(facts)


@pytest.mark.parametrize("name", ["iqtree", "mrbayes"])
def test_a_program_that_is_missing_is_named(alignment, install, name):
    with pytest.raises(ProgramError, match=r"not installed.*take the trees from mcmc"):
        obtain_tree_sample(alignment, name)


@pytest.mark.parametrize(("source", "program"), [("iqtree", "iqtree2"), ("mrbayes", "mb")])
def test_a_program_that_fails_is_quoted(alignment, install, scratch, source, program):
    install(program, "echo all is well; echo; echo 'ERROR: no such luck' >&2; echo bye; exit 3")
    with pytest.raises(ProgramError) as caught:
        obtain_tree_sample(alignment, source, seconds=30)
    assert str(caught.value) == f"{program} failed (status 3). Its last lines: ERROR: no such luck"


@pytest.mark.parametrize(("source", "program"), [("iqtree", "iqtree2"), ("mrbayes", "mb")])
def test_a_program_that_writes_nothing_is_quoted(alignment, install, scratch, source, program):
    install(program, "echo I did nothing")
    with pytest.raises(ProgramError, match="no usable trees") as caught:
        obtain_tree_sample(alignment, source, seconds=30)
    assert "\n" not in str(caught.value)


def test_a_program_that_hangs_is_stopped_with_its_children(alignment, install, scratch, tmp_path):
    mark = tmp_path / "survived"
    install("iqtree2", f"echo thinking; (sleep 2; touch {mark}) & wait")
    with pytest.raises(ProgramError, match=r"stopped after 0.3 s.*more seconds.*thinking"):
        obtain_tree_sample(alignment, "iqtree", seconds=0.3)
    time.sleep(2.2)
    assert not mark.exists()


def test_what_mrbayes_has_written_when_time_is_over_is_used(alignment, install, scratch):
    tree = "   tree gen.1 = [&U] (t0:0.1,(t1:0.1,t2:0.1):0.1,(t3:0.1,(t4:0.1,t5:0.1):0.1):0.1);"
    head = "#NEXUS\\nbegin trees;"
    version = "if [ $1 = -v ]; then echo 'MrBayes v3.2.7a'; exit; fi\n"
    body = f"{version}printf '{head}\\n{tree}\\n{tree}\\n{tree}\\n   tree gen.9 = [&U] (t0,(t' > out.t\nsleep 60"
    install("mb", body)
    sample, facts = obtain_tree_sample(alignment, "mrbayes", seconds=1.0, chains=1)
    assert sample.taxa == TAXA
    assert sample.lengths.shape == (3, 9)
    assert not facts["finished"]
    assert facts["version"] == "MrBayes 3.2.7a"


def test_a_program_that_does_not_start(alignment, install, scratch, tmp_path):
    install("iqtree2", "")
    (tmp_path / "bin" / "iqtree2").write_text("#!/nowhere/at/all\n")
    with pytest.raises(ProgramError, match="iqtree2 cannot be started"):
        obtain_tree_sample(alignment, "iqtree")


@pytest.mark.skipif(not shutil.which("iqtree2"), reason="no iqtree2 on PATH")
def test_iqtree(alignment, scratch):
    sample, facts = obtain_tree_sample(alignment, "iqtree", replicates=1000, seed=3, seconds=120)
    assert sample.taxa == TAXA
    assert facts["trees"] == 1000
    assert facts["version"].startswith("IQ-TREE 2")


@pytest.mark.skipif(not shutil.which("mb"), reason="no mb on PATH")
def test_mrbayes(alignment, scratch):
    sample, facts = obtain_tree_sample(alignment, "mrbayes", generations=20_000, seed=3, seconds=120)
    assert sample.taxa == TAXA
    assert facts["generations"] == 20_000
    assert facts["asdsf"] < 0.1
    assert facts["version"].startswith("MrBayes 3")
    ours, _ = obtain_tree_sample(alignment, "mcmc", generations=20_000)
    both = unite(*(split_frequencies(each.children, each.weights) for each in (sample, ours)))
    assert average_standard_deviation(both) < 0.05


GROUPS = [frozenset({1, 4}), frozenset({1, 4, 5})]


@pytest.mark.parametrize(
    "source",
    [
        "mcmc",
        pytest.param("iqtree", marks=pytest.mark.skipif(not shutil.which("iqtree2"), reason="no iqtree2 on PATH")),
        pytest.param("mrbayes", marks=pytest.mark.skipif(not shutil.which("mb"), reason="no mb on PATH")),
    ],
)
def test_every_source_keeps_to_constraints(alignment, scratch, source):
    prior = TopologyPrior.of(6, GROUPS)
    lengths = GammaDirichletLengths(2.0, 4.0)
    posterior = Posterior(compress(alignment), branch_prior=lengths, topology_prior=prior)
    budget = {"replicates": 1000} if source == "iqtree" else {"generations": 10_000}
    sample, facts = obtain_tree_sample(alignment, source, posterior=posterior, seconds=120, seed=2, **budget)
    assert prior.allows(sample.children).all()
    assert "dropped" not in facts
    assert sample.taxa == TAXA


def test_trees_of_a_program_that_break_a_constraint_are_dropped(alignment, install, scratch):
    good, bad = "(t0,(t3,(t5,(t1,t4))),t2);", "(t0,((t3,t1),(t5,t4)),t2);"
    install("iqtree2", f"printf '{good}\\n{bad}\\n{good}\\n' > out.ufboot; grep -q 't5,(t1,t4)' constraint.nwk")
    posterior = Posterior(compress(alignment), topology_prior=TopologyPrior.of(6, GROUPS))
    sample, facts = obtain_tree_sample(alignment, "iqtree", posterior=posterior)
    assert facts["trees"] == sample.tree_topology.size == 2
    assert facts["dropped"] == 1
    assert "1 trees dropped, which break a constraint" in describe_source(facts)


def test_iqtrees_library_takes_no_constraints(alignment, install, monkeypatch):
    monkeypatch.setattr(tree_programs, "has_library", lambda: True)
    posterior = Posterior(compress(alignment), topology_prior=TopologyPrior.of(6, GROUPS))
    with pytest.raises(ProgramError, match="takes no constraints: install its executable"):
        obtain_tree_sample(alignment, "iqtree", posterior=posterior)


def test_a_fixed_topology_needs_no_sample(alignment):
    prior = TopologyPrior.of(6, [*GROUPS, frozenset({2, 3})])
    posterior = Posterior(compress(alignment), topology_prior=prior)
    sample, facts = obtain_tree_sample(alignment, posterior=posterior)
    assert prior.allows(sample.children).tolist() == [True]
    assert describe_source(facts).startswith("fixed topology (vbpi-mix")
    for source in ("iqtree", "mrbayes"):
        with pytest.raises(ConfigError, match=f"trees from {source}: the topology is fixed, so that no sample is needed"):
            obtain_tree_sample(alignment, source, posterior=posterior)
    with_lengths, _ = obtain_tree_sample(alignment, "mcmc", posterior=posterior, generations=2000)
    np.testing.assert_array_equal(with_lengths.children, sample.children)
    assert with_lengths.lengths is not None


def test_an_unknown_source_is_refused(alignment):
    with pytest.raises(ConfigError, match="choose one of auto, mcmc, mrbayes, iqtree"):
        obtain_tree_sample(alignment, "paup")
    with pytest.raises(ConfigError, match="seconds=-1"):
        obtain_tree_sample(alignment, "iqtree", seconds=-1)


def test_written_weights_are_read_back_exactly(alignment, tmp_path):
    sample, facts = obtain_tree_sample(alignment, "mcmc", generations=4000)
    path = tmp_path / "x.trprobs"
    write_trprobs(sample, path, describe_source(facts) + " [odd] remark")
    read = read_tree_sample([path], TAXA)
    np.testing.assert_array_equal(read.children, sample.children)
    np.testing.assert_allclose(read.weights, sample.weights, rtol=1e-14)
    assert os.listdir(tmp_path) == ["x.trprobs"]


def test_other_programs_do_not_see_excluded_sites(alignment):
    less = Alignment(TAXA, alignment.states, charsets={"head": np.arange(9)}, excluded=np.array([0, 7, 59]))
    with tree_programs._folder(less) as folder:
        for name in ("alignment.fasta", "alignment.nex"):
            seen = read_alignment(folder / name)
            assert np.array_equal(seen.states, np.delete(alignment.states, [0, 7, 59], axis=1))
            assert not seen.excluded.size
