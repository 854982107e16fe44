"""Exports read by the programs that they are for, where these are installed (Debian: mrbayes, figtree, beast-mcmc)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import dendropy
import matplotlib.image
import numpy as np
import pytest
from export_cases import PLAIN, fitted, read_trees, rows_of, side_of, splits_of

import vbpi_mix
from vbpi_mix.phylo.data.alignment import Alignment, write_nexus


def needs(*programs):
    """Skips a test where one of them is not installed."""
    missing = [name for name in programs if shutil.which(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def call(folder, *command):
    """What a program prints; it must succeed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the exports of a run under GTR+G4 as six.*, and the run."""
    folder = tmp_path_factory.mktemp("programs")
    run = fitted(folder / "six.vbpi", PLAIN, model="GTR+G4", iterations=2_000, answer_draws=10_000)
    run.export(trees=2_000, outgroup="t6")
    run.export(trees=2_000, outgroup="t6", form="beast", force=True)
    return folder, run


def table_of(path):
    """A table with tabs, one or several between columns, as mappings; lines of comment before it are passed over."""
    lines = [line.split() for line in path.read_text().splitlines() if "\t" in line]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


@needs("mb")
def test_mrbayes_finds_our_probabilities_and_means(place):
    folder, run = place
    assert run.answer().source == "weighted"
    write_nexus(Alignment(PLAIN, run.problem.parts[0].patterns.states.astype(np.uint8)), folder / "data.nex")
    (folder / "judge.nex").write_text(
        "#NEXUS\nbegin mrbayes;\nset autoclose=yes nowarn=yes;\nexecute data.nex;\n"
        "sump filename=six outputname=judge nruns=1 relburnin=no burnin=0;\n"
        "sumt filename=six outputname=judge nruns=1 ntrees=1 relburnin=no burnin=0;\nend;\n"
    )
    call(folder, "mb", "judge.nex")
    means = {row["Parameter"]: float(row["Mean"]) for row in table_of(folder / "judge.pstat")}
    for each in run.parameters():
        assert means[each.name] == pytest.approx(each.mean, abs=4 * each.sd / np.sqrt(2_000) + 4 * each.error), each.name
    parts = dict(re.findall(r"^\s*(\d+)\t([.*]+)\s*$", (folder / "judge.parts").read_text(), re.MULTILINE))
    known = {side_of(each.members, PLAIN): each for each in run.split_frequencies()}
    compared = 0
    for row in table_of(folder / "judge.tstat"):
        dots = parts[row["ID"].strip()]
        members = {name for name, dot in zip(PLAIN, dots, strict=True) if dot == "*"}
        assert float(row["Probability(=s)"]) == pytest.approx(known[side_of(members, PLAIN)].frequency, abs=0.01)
        compared += 1
    # sumt leaves out splits that are in less than a tenth of the trees.
    assert compared >= sum(each.frequency > 0.11 for each in known.values()) >= 3
    compared = 0
    for row in table_of(folder / "judge.vstat"):
        number = re.search(r"\[(\d+)\]", row["Parameter"])
        dots = parts.get(number[1], "") if number else ""
        members = {name for name, dot in zip(PLAIN, dots, strict=False) if dot == "*"}
        if 1 < len(members) < 5 and known[side_of(members, PLAIN)].frequency > 0.1:
            each, variance = known[side_of(members, PLAIN)], float(row["Variance"])
            error = np.sqrt(variance / (2_000 * each.frequency))
            assert float(row["Mean"]) == pytest.approx(each.length, abs=4 * error + 4 * each.length_error)
            compared += 1
    assert compared >= 3


def test_sumtrees_finds_our_probabilities(place):
    folder, run = place
    script = [sys.executable, "-m", "dendropy.application.sumtrees"]
    call(folder, *script, "--quiet", "--burnin=0", "--unrooted", "--preserve-underscores", "-f", "0.1", "-o", "sum.tre", "six.t")
    (tree,) = read_trees(folder / "sum.tre")
    known = {side_of(each.members, PLAIN): each.frequency for each in run.split_frequencies()}
    found = splits_of(tree)
    assert len(found) >= 2
    for side, node in found.items():
        assert float(node.label) == pytest.approx(known[side], abs=0.01)


@needs("treeannotator", "loganalyser")
def test_beast_reads_trees_and_traces(place):
    folder, run = place
    call(folder, "treeannotator", "-burnin", "0", "six.trees", "mcc.tre")
    (tree,) = read_trees(folder / "mcc.tre", extract_comment_metadata=True)
    known = {side_of(each.members, PLAIN): each.frequency for each in run.split_frequencies()}
    found = splits_of(tree)
    assert len(found) == 3
    for side, node in found.items():
        if node.annotations.get_value("posterior") is not None:
            assert float(node.annotations.get_value("posterior")) == pytest.approx(known[side], abs=0.01)
    for name, length in (("six.log", "treeLength"), ("six.p", "TL")):
        printed = call(folder, "loganalyser", "-burnin", "0", name)
        means = {line.split("\t")[0]: float(line.split("\t")[1]) for line in printed.splitlines() if re.match(r"\S+\t-?\d", line)}
        for each in run.parameters():
            wanted = length if each.name == "TL" else each.name
            assert means[wanted] == pytest.approx(each.mean, abs=4 * each.sd / np.sqrt(2_000) + 4 * each.error + 1e-4)


R = """
suppressMessages(library(ape))
read <- function(trees, trace, skip) {
  found <- read.nexus(trees); table <- read.table(trace, skip = skip, header = TRUE, check.names = FALSE)
  number <- function(name) as.numeric(tail(strsplit(name, "[[:punct:]]")[[1]], 1))
  stopifnot(length(found) == nrow(table), number(names(found)[3]) - number(names(found)[2]) == 1)
  total <- unname(sapply(found, function(tree) sum(tree$edge.length)))
  stopifnot(isTRUE(all.equal(total, table[[if (skip == 1) "TL" else "treeLength"]], tolerance = 1e-6)))
  if (is.rooted(found[[1]])) found <- lapply(found, unroot)
  found
}
read("six.trees", "six.log", 2)
trees <- read("six.t", "six.p", 1)
parts <- prop.part(lapply(trees, root, outgroup = "Homo_sapiens", resolve.root = TRUE))
for (k in seq_along(parts)) cat(attr(parts, "labels")[parts[[k]]], attr(parts, "number")[k], sep = ",", fill = 1000)
for (name in c("six.con.tre", "six.map.tre")) stopifnot(Ntip(read.nexus(name)) == 6)
"""


def r_has(package):
    """Whether R is installed with it."""
    if shutil.which("Rscript") is None:
        return False
    return subprocess.run(["Rscript", "-e", f"library({package})"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not r_has("ape"), reason="not installed: R with ape")
def test_r_reads_trees_and_traces(place):
    """By the steps of RWTY's load.trees: lines that are passed over, numbers in the names of trees, a row for each."""
    folder, run = place
    (folder / "read.R").write_text(R)
    known = {side_of(each.members, PLAIN): each.frequency for each in run.split_frequencies()}
    compared = 0
    for line in call(folder, "Rscript", "read.R").splitlines():
        *members, number = line.strip().split(",")
        if 1 < len(members) < 5:
            assert int(number) / 2_000 == pytest.approx(known[side_of(members, PLAIN)], abs=0.01)
            compared += 1
    assert compared >= 3


@needs("figtree", "xvfb-run")
def test_figtree_draws_the_consensus(place):
    folder, _ = place
    for name in ("six.con.tre", "six.map.tre"):
        call(folder, "xvfb-run", "-a", "figtree", "-graphic", "PNG", "-width", "600", "-height", "500", name, f"{name}.png")
        picture = matplotlib.image.imread(folder / f"{name}.png")
        # A tree and six names in black, on nothing.
        assert 0.003 < (picture[..., 3] > 0.5).mean() < 0.2


def test_what_is_exported_is_read_here(place):
    """A sample of a run may be the tree sample of another."""
    folder, run = place
    found = vbpi_mix.compare(run, folder / "six.t", draws=1_000).as_dict()
    assert found["mass_outside_support"] == 0
    assert found["asdsf_weighted"] < 0.01
    assert dendropy.Tree.get(path=str(folder / "six.con.tre"), schema="nexus").is_rooted
    assert len(rows_of(folder / "six.parameters.csv")) == len(run.parameters())
