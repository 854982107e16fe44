"""Every example of README and of `--help` is a command that this version understands, and those of trees run.

Files of the names that examples use stand in for what a user would have: all are made from examples/.
"""

from __future__ import annotations

import gzip
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest

from vbpi_mix_cli.main import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[2]
# What makes an example short, given after its own options, of which the last counts.
SHORT = {
    "fit": ("--iterations", "3", "--threads", "1", "--force"),
    "fit --resume": ("--iterations", "203", "--threads", "1"),
    "report": ("--force",),
    "draw": ("--force", "--by", "matplotlib"),
    "models": ("--iterations", "3", "--threads", "1", "--answer-draws", "100", "--force"),
    "eval": ("--importance-samples", "20", "--repeats", "2", "--threads", "1"),
    "compare": ("--draws", "100", "--force"),
    "support": ("--generations", "200", "--threads", "1", "--force"),
    "loglik": (),
    "simulate": ("--force",),
    "data list": (),
}
# They need another program, or a download, or a device.
NOT_RUN = ("--trees-from mrbayes", "--device cuda")


def commands():
    """Every click command with its path of names."""
    context = click.Context(cli)

    def below(group, names):
        yield names, group
        if isinstance(group, click.Group):
            for name in group.list_commands(context):
                yield from below(group.get_command(context, name), [*names, name])

    yield from below(cli, [])


def lines_of(text):
    """The vbpi-mix commands of a text: indented lines, or parts of one that && joins."""
    for line in re.findall(r"^ +(.*vbpi-mix .*)$", text, re.MULTILINE):
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            if words[:1] == ["vbpi-mix"]:
                yield tuple(words[1:])


def all_examples():
    found = dict.fromkeys(lines_of((ROOT / "README.md").read_text(encoding="utf-8")))
    for _, command in commands():
        found |= dict.fromkeys(lines_of(command.epilog or ""))
    return list(found)


def kind_of(words):
    """The key of SHORT, if the example is of a command that can be run here."""
    text = " ".join(words)
    if any(part in text for part in NOT_RUN):
        return None
    if words[0] == "fit" and "--resume" in words:
        return "fit --resume"
    return next((kind for kind in SHORT if text.startswith(kind)), None)


EXAMPLES = all_examples()
RUN = [words for words in EXAMPLES if kind_of(words)]


def test_examples_are_found():
    """So that none of the others passes for want of examples."""
    assert {words[0] for words in EXAMPLES} == set(COMMANDS)
    assert {kind_of(words) for words in RUN} == set(SHORT)


@pytest.mark.parametrize("words", EXAMPLES, ids=" ".join)
def test_an_example_is_understood(words):
    context, command, rest = click.Context(cli, info_name="vbpi-mix"), cli, list(words)
    while isinstance(command, click.Group):
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, list(rest), parent=context)
    assert context.command is command


def in_words(text):
    """Three taxa, which are a group, and another by the names that examples have."""
    for number, name in enumerate(("Homo_sapiens", "Pan", "Gorilla", "Lemur_catta"), start=2):
        text = text.replace(f"t0{number}", name)
    return text


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with stand-ins for the files and runs that examples name."""
    from vbpi_mix.phylo.data.alignment import read_alignment, write_fasta, write_nexus
    from vbpi_mix.phylo.trees.files import read_tree_file
    from vbpi_mix.phylo.trees.nexus import trprobs

    folder = tmp_path_factory.mktemp("stand_ins")
    nexus, newick = ROOT / "examples" / "eight.nex", ROOT / "examples" / "eight.nwk"
    alignment = read_alignment(nexus)
    trees = newick.read_text() * 4
    text = trprobs(read_tree_file(newick, alignment.taxa).children, np.ones(1), alignment.taxa, "one tree")
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copy(nexus, folder / "DS1.nex")
    write_fasta(alignment, folder / "anything.fasta")
    shutil.copy(newick, folder / "tree.nwk")
    write_fasta(alignment, folder / "primates.fasta")
    apes = replace(alignment, taxa=tuple(in_words(name) for name in alignment.taxa))
    write_nexus(apes, folder / "apes.nex")
    (folder / "apes.run1.t").write_text(in_words(trees))
    for name in ("primates.nex", "cynmix.nex"):
        shutil.copy(nexus, folder / name)
    proteins = np.random.default_rng(1).choice(list("ARNDCQEGHILKMFPSTWYV"), (8, 30))
    rows = zip(alignment.taxa, proteins, strict=True)
    (folder / "prot21.fa").write_text("".join(f">{name}\n{''.join(row)}\n" for name, row in rows))
    for name in ("primates.run1.t", "primates.run2.t", "cynmix.run1.t", "prot21.run1.t"):
        (folder / name).write_text(trees)
    charsets = "charset a = 1-300; charset b = 301-600; charpartition both = HKY+G4: a, HKY+G4: b;"
    (folder / "scheme.nex").write_text(f"#NEXUS\nbegin sets;\n{charsets}\nend;\n")
    for name in ("golden.trprobs", "run1.trprobs", "run2.trprobs"):
        (folder / name).write_text(text)
    for name, content in (("ufboot/rep_1.gz", trees), ("golden/rep_1.trprobs.gz", text)):
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(gzip.compress(content.encode()))
    for name in ("DS1.vbpi", "runs/DS1", "runs/first", "runs/second"):
        shutil.copytree(ROOT / "tests" / "fixtures" / "run-plain", folder / name)
    return folder


@pytest.mark.parametrize("words", RUN, ids=" ".join)
def test_an_example_runs(run, files, tmp_path, monkeypatch, words):
    shutil.copytree(files, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    outcome = run(*words, *SHORT[kind_of(words)])
    assert outcome.status == 0, outcome.err
    assert outcome.out
