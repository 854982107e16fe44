"""Parts and their models in the words of IQ-TREE and MrBayes, and trees of both programs where they are installed."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.config import ModelConfig
from vbpi_mix.phylo.data.alignment import Alignment
from vbpi_mix.phylo.data.alphabets import DNA, PROTEIN, standard
from vbpi_mix.phylo.data.partitions import Part
from vbpi_mix.phylo.data.site_patterns import compress
from vbpi_mix.phylo.inputs import program_parts
from vbpi_mix.phylo.models.observed import state_frequencies
from vbpi_mix.phylo.models.part import make_part
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.parts import data_parts, posterior_of
from vbpi_mix.phylo.prior_choices import Priors
from vbpi_mix.phylo.problem import FittedData
from vbpi_mix.phylo.sampling.program_parts import (
    ProgramPart,
    ProgramParts,
    mrbayes_model_lines,
    part_after_part,
    write_iqtree_parts,
)
from vbpi_mix.phylo.sampling.programs import run_iqtree, run_mrbayes
from vbpi_mix.phylo.sbn.splits import split_frequencies

TAXA = ("one's", "two words", "c", "d", "e", "f")
ALPHABETS = (DNA, PROTEIN, standard("01"))
MODELS = ("HKY+G4", "WAG", "MK+ASC")


def characters(alphabet, sites, rng):
    """Of six taxa in two groups of three."""
    groups = rng.integers(0, alphabet.n_states, (2, sites))
    states = np.repeat(groups, 3, axis=0)
    changed = rng.random(states.shape) < 0.1
    states[changed] = rng.integers(0, alphabet.n_states, changed.sum())
    states[:, (states == states[0]).all(axis=0)] = np.array([[0, 0, 0, 1, 1, 1]]).T
    return np.uint64(1) << states.astype(np.uint64)


@pytest.fixture
def alignment():
    """Sites of three alphabets, nucleotides before and after the others, the first of them excluded."""
    rng = np.random.default_rng(1)
    order = (0, 1, 2, 0)
    states = np.concatenate([characters(ALPHABETS[k], 30, rng) for k in order], axis=1)
    of_site = np.repeat(np.array(order, np.uint8), 30)
    return Alignment(TAXA, states, ALPHABETS, of_site, excluded=np.array([0]))


def parts_of(alignment, numbers, models, **options):
    sites = [np.setdiff1d(np.flatnonzero(alignment.alphabet_of == k), alignment.excluded) for k in numbers]
    return ProgramParts(
        tuple(
            ProgramPart(own, make_part(model, compress(alignment, own))) for own, model in zip(sites, models, strict=True)
        ),
        **options,
    )


def test_every_part_is_a_file_and_a_charset_of_iqtree(alignment, tmp_path):
    safe = Alignment(tuple("abcdef"), alignment.states, ALPHABETS, alignment.alphabet_of)
    given = parts_of(alignment, (0, 1, 2), MODELS)
    assert write_iqtree_parts(safe, given, tmp_path) == ["-p", "parts.nex"]
    text = (tmp_path / "parts.nex").read_text()
    for kind, number in (("DNA", 1), ("AA", 2), ("MORPH", 3)):
        assert f"charset p{number} = part{number}.fasta:{kind}, *;\n" in text
    models = [part.model.iqtree for part in given.parts]
    assert f"charpartition parts = {models[0]}:p1, {models[1]}:p2, {models[2]}:p3;\n" in text
    assert [len((tmp_path / f"part{k}.fasta").read_text().split()[1]) for k in (1, 2, 3)] == [59, 30, 30]
    same_rates = parts_of(alignment, (0, 1, 2), MODELS, multipliers=None)
    assert write_iqtree_parts(safe, same_rates, tmp_path) == ["-q", "parts.nex"]
    binary = parts_of(alignment, (2,), ["GTR2+FQ"])
    assert write_iqtree_parts(safe, binary, tmp_path)[3] == "BIN"
    alone = parts_of(alignment, (1,), MODELS[1:2])
    assert write_iqtree_parts(safe, alone, tmp_path) == ["-s", "part1.fasta", "-st", "AA", "-m", models[1]]


def test_mrbayes_has_the_parts_one_after_the_other(alignment):
    given = parts_of(alignment, (0, 2), (MODELS[0], MODELS[2]), linked=("alpha",))
    lines = mrbayes_model_lines(given)
    assert lines[:4] == ("charset p1 = 1-59;", "charset p2 = 60-89;", "partition parts = 2: p1, p2;", "set partition=parts;")
    assert any(line.startswith("lset applyto=(1) nst=2 ") for line in lines)
    assert any(line.startswith("lset applyto=(2) coding=variable") for line in lines)
    assert lines[-3:] == (
        "unlink tratio=(all) revmat=(all) statefreq=(all) pinvar=(all);",
        "link shape=(all);",
        "prset applyto=(all) ratepr=dirichlet(1,1);",
    )
    together = part_after_part(alignment, given)
    assert together.states.shape == (6, 89)
    np.testing.assert_array_equal(together.states[:, 59:], alignment.states[:, 60:90])
    np.testing.assert_array_equal(together.alphabet_of, np.repeat([0, 1], [59, 30]))
    assert together.alphabets == (ALPHABETS[0], ALPHABETS[2])
    alone = parts_of(alignment, (0,), MODELS[:1])
    assert mrbayes_model_lines(alone) == alone.parts[0].model.mrbayes()
    assert "ratepr" not in " ".join(mrbayes_model_lines(parts_of(alignment, (0, 2), MODELS[::2], multipliers=None)))


def test_mrbayes_has_the_prior_of_multipliers(alignment):
    def last_line(density):
        return mrbayes_model_lines(parts_of(alignment, (0, 1, 2), MODELS, multipliers=density))[-1]

    assert last_line("dirichlet:2") == "prset applyto=(all) ratepr=dirichlet(2,2,2);"
    assert last_line("dirichlet:10,40,1.5") == "prset applyto=(all) ratepr=dirichlet(10,40,1.5);"


def test_a_fit_hands_its_priors_and_links_on(alignment):
    def lines(**choices):
        parts = data_parts(alignment, "HKY+F+G4")
        model = ModelConfig(**choices)
        fitted = FittedData(alignment.taxa, parts, posterior_of(parts, model, Priors.default(6)))
        found = program_parts(alignment, fitted)
        assert found is not None
        return " ".join(mrbayes_model_lines(found))

    assert "ratepr=dirichlet(3,4,5)" in lines(prior="multipliers=dirichlet:3,4,5;alpha=exp:2")
    assert "shapepr=exponential(2)" in lines(prior="multipliers=dirichlet:3,4,5;alpha=exp:2")
    assert "ratepr=dirichlet(1,1,1)" in lines()
    assert "ratepr" not in lines(link="multipliers")


def test_other_programs_see_the_sites_of_the_only_part(alignment):
    """Under JC69 too, where a partition file leaves sites out."""
    dna = Alignment(TAXA, alignment.states[:, :30].astype(np.uint8), excluded=np.array([0]))

    def of(sites):
        parts = data_parts(dna, "JC", [Part("one", sites, DNA)])
        return program_parts(dna, FittedData(TAXA, parts, posterior_of(parts, ModelConfig(), Priors.default(6))))

    assert of(np.arange(1, 30)) is None
    some = of(np.arange(5, 20))
    np.testing.assert_array_equal(part_after_part(dna, some).states, dna.states[:, 5:20])
    assert mrbayes_model_lines(some) == ("lset nst=1 rates=equal;", "prset statefreqpr=fixed(equal);")


def test_mrbayes_has_the_frequencies_that_are_counted(alignment):
    (part,) = parts_of(alignment, (0,), ["F81+F"]).parts
    counted = state_frequencies(compress(alignment, part.sites), 4)
    line = part.model.mrbayes()[1]
    written = [float(word) for word in line.split("fixed(")[1].split(")")[0].split(",")]
    np.testing.assert_allclose(written, counted, rtol=1e-9)


def test_characters_of_fewer_states_are_none_of_mrbayes():
    """It gives a character the states up to its own highest: here the second has two of three, and of the third nothing is
    known of the highest."""
    states = np.array([[1, 1, 7, 1], [4, 2, 1, 2], [1, 2, 2, 6], [2, 1, 1, 1]], np.uint8)
    ternary = Alignment(tuple("abcd"), states, (standard("012"),))
    with pytest.raises(ConfigError, match=r"^model MK: MrBayes .* 2 here have fewer than 3; "):
        make_part("MK", compress(ternary)).mrbayes()
    whole = Alignment(tuple("abcd"), states[:, [0, 3]], (standard("012"),))
    assert make_part("MK", compress(whole)).mrbayes()[0] == "lset coding=all rates=equal;"


def assert_groups(sample):
    """Three against three is what every part says."""
    assert sample.taxa == TAXA
    assert split_frequencies(sample.children, sample.weights).frequencies.max() > 0.9


@pytest.mark.skipif(not shutil.which("iqtree2"), reason="no iqtree2 on PATH")
@pytest.mark.parametrize("numbers", [(0, 1, 2), (1,)])
def test_iqtree_reads_them(alignment, numbers):
    given = parts_of(alignment, numbers, [MODELS[k] for k in numbers])
    assert_groups(run_iqtree(alignment, replicates=1000, seed=3, seconds=120, parts=given).sample)


@pytest.mark.skipif(not shutil.which("mb"), reason="no mb on PATH")
@pytest.mark.parametrize("numbers", [(0, 1, 2), (2,)])
def test_mrbayes_reads_them(alignment, numbers):
    given = parts_of(alignment, numbers, [MODELS[k] for k in numbers])
    posterior = Posterior(compress(alignment, np.flatnonzero(alignment.alphabet_of == 0)))
    run = run_mrbayes(
        alignment, posterior, runs=2, generations=5000, asdsf=None, seed=3, seconds=120, parts=given
    )
    assert run.facts["finished"]
    assert_groups(run.sample)
