"""What a fit was asked for is read again from what config.yaml keeps of it, from whatever folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from vbpi_mix.errors import RunDirectoryError
from vbpi_mix.phylo.asked import Asked
from vbpi_mix.phylo.config import FitConfig
from vbpi_mix.phylo.data.alignment import Alignment

RUN = Path("x.vbpi")
CONFIG = FitConfig.of(
    components=3, seed=7, burn_in=0.1, partitions="parts.txt", constraint="one.txt;(a,b);two.txt", fix_topology="((a,b),c,d);",
    trees_from="chains/*.t",
)  # fmt: skip


def kept(asked):
    """What a reader of the file finds."""
    return yaml.safe_load(yaml.safe_dump(asked.entries()))


@pytest.fixture
def data(tmp_path, monkeypatch):
    for name in ("x.nex", "parts.txt", "one.txt", "two.txt"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_in_the_same_folder_it_is_what_was_given(data):
    found = Asked.of(kept(Asked("x.nex", ["y.t", "z/*.t"], CONFIG)), RUN)
    assert (found.alignment, found.trees, found.config) == ("x.nex", ["y.t", "z/*.t"], CONFIG)


def test_from_another_folder_files_are_found(data, monkeypatch):
    content = kept(Asked(Path("x.nex"), "z/*.t", CONFIG))
    (data / "other").mkdir()
    monkeypatch.chdir(data / "other")
    found = Asked.of(content, RUN)
    assert (found.alignment, found.trees) == (f"{data}/x.nex", [f"{data}/z/*.t"])
    assert found.config.partitions == f"{data}/parts.txt"
    assert found.config.constraint == f"{data}/one.txt;(a,b);{data}/two.txt"
    assert found.config.fix_topology == "((a,b),c,d);"
    assert found.config.trees_from == f"{data}/chains/*.t"
    assert (found.config.seed, found.config.model) == (7, CONFIG.model)


def test_what_is_no_file_keeps_its_name(data, monkeypatch):
    content = kept(Asked("DS1", None, FitConfig()))
    (data / "other").mkdir()
    monkeypatch.chdir(data / "other")
    found = Asked.of(content, RUN)
    assert (found.alignment, found.trees, found.config) == ("DS1", [], FitConfig())


def test_what_was_in_memory_is_not_begun_once_more(data):
    content = kept(Asked(Alignment(("a",), np.ones((1, 2), np.uint8)), None, FitConfig()))
    assert content["alignment"] is None
    with pytest.raises(RunDirectoryError, match="data that are in no file"):
        Asked.of(content, RUN)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("trees"), "lacks trees of what was asked for"),
        (lambda content: content["choices"].pop("hpd"), "lacks hpd"),
        (lambda content: content["model"].update(B=1), "knows no B"),
        (lambda content: content.update(choices=[1]), "lacks answer_draws"),
        (lambda content: content.update(trees="y.t"), "has no list of trees"),
    ],
)
def test_an_entry_that_is_missing_is_named(data, change, message):
    content = kept(Asked("x.nex", None, FitConfig()))
    change(content)
    with pytest.raises(RunDirectoryError, match=message):
        Asked.of(content, RUN)
