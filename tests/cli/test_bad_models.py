"""Models, priors and parts that cannot be are refused in one line, with exit status 2, and nothing is written."""

import pytest

from vbpi_mix.phylo.config import FitConfig
from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.inputs import read_parts
from vbpi_mix.phylo.parts import data_parts

HALVES = {
    "overlap.txt": "DNA, a = 1-60\nDNA, b = 50-120\n",
    "left.txt": "DNA, a = 1-60\nDNA, b = 71-120\n",
    "beyond.txt": "DNA, a = 1-60\nDNA, b = 61-130\n",
    "unknown.txt": "HKX, a = 1-60\nDNA, b = 61-120\n",
    "protein.txt": "LG, a = 1-60\nDNA, b = 61-120\n",
    "variable.txt": "HKY+ASC, a = 1-60\nDNA, b = 61-120\n",
    "models.txt": "HKY, a = 1-60\nGTR+G4, b = 61-120\n",
    "plain.txt": "DNA, a = 1-60\nDNA, b = 61-120\n",
    "classes.txt": "TPM2, a = 1-60\nTPM3, b = 61-120\n",
    "empty.txt": "",
}


@pytest.fixture
def untouched(six):
    """The folder with all of the partition files; nothing may be written beside them."""
    for name, text in HALVES.items():
        (six / name).write_text(text)
    before = sorted(p.name for p in six.iterdir())
    yield six
    assert sorted(p.name for p in six.iterdir()) == before


def fit(run, *options, alignment="six.nex"):
    return run("fit", alignment, "--trees", "all.ufboot", "--iterations", 2, "--threads", 1, "--quiet", *options)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("GTRR", "the nearest is GTR"),
        ("LG+G4", "LG is for amino acids, but the characters are nucleotides"),
        ("MK", "MK is for discrete characters"),
        ("HKY{-1}", "numbers of at least 0"),
        ("HKY{0}", "rates above 0"),
        ("HKY{nan}", "numbers of at least 0"),
        ("GTR{1,2,3}", "GTR takes 5 rates"),
        ("HKY+F{0.3,0.3,0.3,0.3}", "4 frequencies above 0 that sum to 1"),
        ("HKY+F{0.3,0.3,0.4}", "4 frequencies above 0 that sum to 1"),
        ("HKY+G4{0}", "one number from 0.0001 to 10000"),
        ("HKY+G1", "categories are 2 to 64"),
        ("HKY+I{1.5}", "one number from 0 to 1"),
        ("HKY+G4+G4", "says again"),
        ("JC+R4", "free rates of sites"),
        ("", "is not NAME"),
        ("HKY+I+ASC", "do not go together"),
        ("HKY,GTR", "give one; models for parts of the data stand in a partition file"),
    ],
)
def test_models_that_cannot_be(run, untouched, model, words):
    assert words in fit(run, "--model", model).error_line()


def test_two_models(run, untouched):
    line = fit(run, "--model", "HKY", "--model", "GTR").error_line()
    assert "--model HKY and GTR: give one" in line
    assert "--partitions" in line


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("overlap.txt", "site 50 is in two parts, 'a' and 'b'"),
        ("left.txt", "site 61 and 9 more are in no part"),
        ("beyond.txt", "part 'b': site 130 is beyond the 120 sites"),
        ("unknown.txt", "part 'a': model HKX: no model is called HKX; the nearest is HKY"),
        ("protein.txt", "part 'a': model LG: LG is for amino acids"),
        ("variable.txt", "part 'a': model HKY+ASC: 25 of 60 characters do not vary"),
        ("empty.txt", "the file is empty"),
        ("absent.txt", "no such file"),
    ],
)
def test_parts_that_cannot_be(run, untouched, file, words):
    assert words in fit(run, "--partitions", file).error_line()


def test_sites_are_left_out_only_where_a_file_says_which(run, untouched):
    assert "--partitions" in fit(run, "--partitions-partial").error_line()


def test_sites_may_be_left_out_where_that_is_asked_for(untouched):
    config = FitConfig.of(partitions="left.txt", partitions_partial=True)
    _, parts = read_parts("six.nex", config, lambda note: None)
    assert [(part.name, part.sites) for part in parts] == [("a", 60), ("b", 50)]


def test_a_model_beside_parts_that_have_their_own(run, untouched):
    assert "every part has a model of its own" in fit(run, "--partitions", "models.txt", "--model", "HKY").error_line()


def test_characters_that_do_not_vary_are_listed(run, untouched):
    """What the message says to do can be done as it stands."""
    text = "#NEXUS\nbegin data; dimensions ntax=4 nchar=5; format datatype=standard;\nmatrix\n{}\n;\nend;\n"
    rows = "\n".join(f"{name} {row}" for name, row in zip("abcd", ("01101", "01?11", "00101", "01110"), strict=True))
    (untouched / "six.nex").write_text(text.format(rows))
    line = run("fit", "six.nex", "--model", "MK+ASC", "--quiet").error_line()
    assert "2 of 5 characters do not vary" in line
    command = line[line.index("exset") : line.rindex(";") + 1]
    assert command == "exset * constant = 1 3;"
    block = f"begin assumptions;\n{command}\nend;\n"
    (untouched / "six.nex").write_text(text.format(rows) + block)
    alignment = read_alignment(untouched / "six.nex")
    assert [part.sites for part in data_parts(alignment, "MK+ASC")] == [3]


@pytest.mark.parametrize(
    ("model", "prior", "words"),
    [
        ("HKY+G4", "alpha=exp:-1", "is not a density"),
        ("HKY+G4", "alpha=exp", "is not a density"),
        ("HKY+G4", "alpha", "NAME=DENSITY"),
        ("HKY+G4", "alpha=uniform:0,1", "alpha takes exp:1 or gamma:1,1"),
        ("HKY+G4", "alfa=exp:1", "parameters are kappa, rates"),
        ("HKY+G4", "lengths=exp:1", "--prior-lengths"),
        ("HKY+G4", "rates=dirichlet:1", "nothing learns rates; learned are alpha, frequencies, kappa"),
        ("HKY+G4{0.5}", "alpha=exp:1", "nothing learns alpha"),
        ("GTR", "rates=dirichlet:1,1", "6 numbers are wanted"),
        ("HKY+I", "pinvar=uniform:0,2", "is not a density"),
        ("JC69", "alpha=exp:1", "learned are none"),
        ("LG", "alpha=exp:1", "LG is for amino acids"),
    ],
)
def test_priors_that_cannot_be(run, untouched, model, prior, words):
    assert words in fit(run, "--model", model, "--prior", prior).error_line()


def test_a_prior_given_twice(run, untouched):
    assert "given twice" in fit(run, "--model", "HKY+G4", "--prior", "alpha=exp:1", "--prior", "alpha=exp:2").error_line()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--link", "alpha"), "no two parts have alpha to share"),
        (("--model", "HKY+G4", "--link", "alpha"), "no two parts have alpha"),
        (("--model", "HKY", "--link", "multipliers"), "no two parts have multipliers"),
        (("--partitions", "plain.txt", "--model", "HKY", "--link", "alpha"), "no two parts have alpha"),
        (("--partitions", "models.txt", "--link", "kappa"), "no two parts have kappa"),
        (("--partitions", "classes.txt", "--link", "rates"), "no two parts have rates"),
        (("--partitions", "models.txt", "--link", "kapa"), "parts can share rates, kappa"),
    ],
)
def test_what_parts_cannot_share(run, untouched, options, words):
    assert words in fit(run, *options).error_line()


@pytest.mark.parametrize(
    ("sequences", "words"),
    [
        (("ARND", "AR1D", "ARND", "ARND"), "taxon 'b', site 3: character '1' is not an amino acid"),
        (("0101", "01Z1", "0101", "0101"), "taxon 'b', site 3: character 'Z' is not one of the states"),
    ],
)
def test_characters_outside_the_alphabet(run, untouched, sequences, words):
    kind = "protein" if sequences[0] == "ARND" else 'standard symbols="01"'
    rows = "\n".join(f"{name} {row}" for name, row in zip("abcd", sequences, strict=True))
    text = f"#NEXUS\nbegin data; dimensions ntax=4 nchar=4; format datatype={kind};\nmatrix\n{rows}\n;\nend;\n"
    (untouched / "six.nex").write_text(text)
    assert words in run("fit", "six.nex", "--quiet").error_line()


@pytest.mark.parametrize(
    ("models", "options", "words"),
    [
        ("JC", (), "name at least two"),
        ("JC,JC69", (), "model JC69: it is the same as JC"),
        ("HKY,HKY85", (), "model HKY85: it is the same as HKY"),
        ("HKY,HKX", (), "the nearest is HKY"),
        ("HKY,LG", (), "LG is for amino acids"),
        ("HKY,GTR", ("--prior", "alpha=exp:1"), "none of the models learns alpha"),
        ("HKY,GTR", ("--link", "kappa"), "under none of the models"),
        ("HKY,GTR", ("--partitions", "models.txt"), "every part has a model of its own"),
        ("HKY,GTR", ("--out", "six.nex"), "--force"),
        ("HKY,GTR", ("--out", "absent/table.json"), "absent"),
    ],
)
def test_comparisons_that_cannot_be(run, untouched, models, options, words):
    assert words in run("models", "six.nex", "--try", models, "--trees", "all.ufboot", *options).error_line()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model", "HKX"), "the nearest is HKY"),
        (("--model", "HKY", "--prior", "alpha=exp:1"), "nothing learns alpha"),
        (("--partitions", "variable.txt"), "do not vary"),
    ],
)
def test_support_refuses_the_same(run, untouched, options, words):
    assert words in run("support", "six.nex", "--generations", 10, *options).error_line()
