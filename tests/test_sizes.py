"""Sizes are looked at before memory is taken."""

from __future__ import annotations

import gzip
import re
import zlib

import numpy as np
import pytest
from click.testing import CliRunner

import vbpi_mix
from vbpi_mix import sizes
from vbpi_mix.errors import ConfigError, SupportError, TreeError
from vbpi_mix.files import read_bytes
from vbpi_mix.image.config import FitConfig as ImageConfig
from vbpi_mix.phylo import problem
from vbpi_mix.phylo.config import FitConfig
from vbpi_mix.phylo.data.alignment import Alignment, write_nexus
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.neighbour_joining import pairwise_differences
from vbpi_mix.phylo.trees.topology import random_topologies
from vbpi_mix.toy.experiment import plan
from vbpi_mix_cli import support


@pytest.mark.parametrize("members", [[b""], [b"text\n"], [bytes(range(256)) * 10_000], [b"one\n", b"two\n"]])
def test_gzip_files_are_unpacked_whole(members):
    packed = b"".join(gzip.compress(member) for member in members)
    assert sizes.gunzip(packed, "x", TreeError) == b"".join(members) == gzip.decompress(packed)
    assert sizes.gunzip(packed + bytes(512), "x", TreeError) == b"".join(members)


@pytest.mark.parametrize("cut", [1, 8, 9, 30])
def test_gzip_files_that_are_cut_or_damaged_are_refused(cut):
    packed = gzip.compress(bytes(range(256)) * 100)
    with pytest.raises((EOFError, zlib.error)):
        sizes.gunzip(packed[:-cut], "x", TreeError)
    with pytest.raises((EOFError, zlib.error)):
        sizes.gunzip(packed[:-cut] + b"x" + packed[1 - cut :], "x", TreeError)


def test_a_file_that_unpacks_to_the_whole_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "HARMLESS_BYTES", 1_000_000)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(20_000_000)))
    with pytest.raises(TreeError, match=r"bomb\.gz: the gzip file unpacks to more than .* MB; unpack and look at it first"):
        read_bytes(tmp_path / "bomb.gz", "tree file", TreeError)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: FitConfig.of(components=10**12).resolve(),
        lambda: FitConfig.of(particles=10**12).resolve(),
        lambda: ImageConfig("digits", A=10**12),
        lambda: ImageConfig("digits", L=10**12),
        lambda: plan("ring", A=10**12),
        lambda: plan("ring", K=10**12),
    ],
)
def test_what_no_machine_holds_is_one_line_with_an_estimate(ask):
    with pytest.raises(ConfigError, match=r"about [\d,]+ GB of memory, and there are .*; ask for less") as caught:
        ask()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", ["JC69", "K80", "JC+G4{1}"])
def test_chains_that_no_memory_holds_are_one_line_before_they_begin(monkeypatch, tmp_path, model):
    """Before anything is fitted to the data, too, which takes minutes where there are so many."""
    monkeypatch.setattr(problem, "neighbour_joining", lambda *_: pytest.fail("work was begun"))
    monkeypatch.setattr(sizes, "memory_bytes", lambda: 5_000_000)
    states = 1 << np.random.default_rng(1).integers(0, 4, (20, 4_000)).astype(np.uint8)
    alignment = Alignment(tuple(f"t{k}" for k in range(20)), states)
    estimate = r"10 chains of 20 taxa and 4,000 different sites, .*: about \d+\.?\d? MB of memory, and there are 5 MB"
    with pytest.raises(ConfigError, match=estimate):
        vbpi_mix.fit(alignment, model=model, out=tmp_path / "run.vbpi")
    assert not list(tmp_path.iterdir())
    write_nexus(alignment, tmp_path / "x.nex")
    outcome = CliRunner().invoke(support.command, [str(tmp_path / "x.nex"), "--model", model, "--chains", "2"])
    assert re.search(estimate, str(outcome.exception))


def test_distances_that_no_memory_holds_are_refused(monkeypatch):
    monkeypatch.setattr(sizes, "memory_bytes", lambda: 3_000)
    with pytest.raises(ConfigError, match=r"the distances of 20 taxa: about 22\.4 kB of memory, and there are 3 kB"):
        pairwise_differences([(np.ones((20, 5), np.uint8), np.ones(5))])


def test_topologies_that_no_memory_holds_are_refused(monkeypatch):
    children = random_topologies(6, 10, np.random.default_rng(1))
    support = build_support(children)
    monkeypatch.setattr(sizes, "memory_bytes", lambda: 3_000)
    with pytest.raises(SupportError, match=r"10 topologies of 6 taxa: about 5\.6 kB of memory, and there are 3 kB; ask for less"):
        support.encode(children)


def test_sizes_for_people():
    assert [sizes.describe_bytes(count) for count in (1500, 2.5e6, 1.5e9, 3.2e13)] == ["1.5 kB", "2.5 MB", "1.5 GB", "32,000 GB"]
    sizes.check_memory(sizes.memory_bytes() - 1, "all of it")
    with pytest.raises(ConfigError, match="more of it: about"):
        sizes.check_memory(sizes.memory_bytes() + 1, "more of it")
