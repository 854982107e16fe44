"""The example files that MrBayes's and IQ-TREE's Debian packages ship: read as what they are, or refused with the reason."""

import json
from pathlib import Path

import numpy as np
import pytest

from vbpi_mix.phylo.config import FitConfig
from vbpi_mix.phylo.inputs import read_fitted

MRBAYES, IQTREE = Path("/usr/share/doc/mrbayes/examples"), Path("/usr/share/doc/iqtree/examples")
CYNMIX = "#NEXUS\nbegin sets;\ncharset m = 1-166;\ncharset g = 167-3246;\ncharpartition both = MK+ASC:m, GTR+G4:g;\nend;\n"


def example(folder, name):
    if not (folder / name).is_file():
        pytest.skip(f"{folder / name} is not here")
    return folder / name


@pytest.mark.parametrize(
    ("folder", "name", "taxa", "parts"),
    [
        (MRBAYES, "primates.nex", 12, {"all": ("dna", 898, "JC69")}),
        (MRBAYES, "replicase.nex", 9, {"all": ("dna", 720, "JC69")}),
        (MRBAYES, "finch.nex", 4, {"all": ("dna", 16119, "JC69")}),
        (MRBAYES, "sceloporus.nex", 123, {"all": ("dna", 1566, "JC69")}),
        (MRBAYES, "avian_ovomucoids.nex", 89, {"all": ("protein", 88, "LG")}),
        (MRBAYES, "cynmix.nex", 32, {"standard": ("standard", 166, "MK"), "dna": ("dna", 3080, "JC69")}),
        (MRBAYES, "hymfossil.nex", 113, {"standard": ("standard", 343, "MK"), "dna": ("dna", 4748, "JC69")}),
        (IQTREE, "example.phy", 17, {"all": ("dna", 1998, "JC69")}),
    ],
)
def test_an_example_is_read_as_what_it_is(folder, name, taxa, parts):
    told = []
    alignment, fitted = read_fitted(example(folder, name), FitConfig(), told.append)
    assert len(alignment.taxa) == taxa
    found = {part.name: (part.patterns.alphabet.name, part.sites, part.model) for part in fitted.parts}
    assert found == parts
    assert len(told) == len(parts)
    tree = fitted.posterior.topology_prior.draw(1, np.random.default_rng(1))
    assert np.isfinite(fitted.posterior.at(None).log_joint(tree, np.full((1, 2 * taxa - 3), -3.0)))


@pytest.mark.parametrize(("folder", "name", "block"), [(MRBAYES, "codon.nex", "MRBAYES"), (IQTREE, "example.nex", "SETS")])
def test_files_without_a_matrix_are_refused(run, folder, name, block):
    line = run("fit", example(folder, name), "--quiet").error_line()
    assert "no DATA or CHARACTERS block with a MATRIX" in line
    assert line.endswith(f"its blocks are: {block}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "name", "options", "parameters"),
    [
        (MRBAYES, "primates.nex", ("--model", "GTR+G4"), 12),
        (MRBAYES, "replicase.nex", ("--model", "GTR+G4"), 12),
        (MRBAYES, "finch.nex", ("--model", "GTR+G4"), 12),
        (MRBAYES, "cynmix.nex", ("--partitions", "cynmix.sets"), 14),
        (IQTREE, "example.phy", ("--partitions", IQTREE / "example.nex"), 31),
    ],
)
def test_an_example_is_fitted(run, tmp_path, monkeypatch, folder, name, options, parameters):
    monkeypatch.chdir(tmp_path)
    Path("cynmix.sets").write_text(CYNMIX)
    budget = ("--seconds", 5, "--trees-seconds", 10, "--threads", 1)
    outcome = run("fit", example(folder, name), *options, *budget, "--out", "x.vbpi")
    assert outcome.status == 0, outcome.err
    reported = json.loads(Path("x.vbpi/summary.json").read_text())["parameters"]
    assert len(reported) == parameters
    assert all(each["lower"] < each["mean"] < each["upper"] for each in reported)
