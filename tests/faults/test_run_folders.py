"""The folder of a run through a kill before every single step by which it is made, replaced and written."""

from __future__ import annotations

import os
import shutil
import sys
import warnings

import pytest
from faulty import hidden
from victim import Fault

from vbpi_mix.errors import RunDirectoryError
from vbpi_mix.training.run_directory import RunDirectory, is_run


def fit(place, seed, force=False):
    """What a fit does to its folder, without what takes time."""
    with RunDirectory.create(place, force) as run:
        run.commit({"seed": seed, "begun": True}, tentative=True)
        run.update_summary({"seconds": 1})
        run.write_bytes("checkpoint.pt", b"start")
        run.write_config({"seed": seed})
        run.keep()
        run.log("started")
        run.write_bytes("checkpoint.pt", b"end")
        run.update_summary({"iterations": 2})


def resume(place):
    """And a resumed one."""
    with RunDirectory.open_unfinished(place) as run:
        config = run.read_config()
        run.write_bytes("checkpoint.pt", b"end")
        run.write_config({"seed": config["seed"]})
        run.log("resumed")
        run.update_summary({"iterations": 2})


def killed(folder, at, work):
    """Do the work in a child that is killed before step `at`; whether it was."""
    with warnings.catch_warnings():
        # Other threads of this process do not matter to a child that only writes files.
        warnings.simplefilter("ignore")
        child = os.fork()
    if not child:
        sys.addaudithook(Fault(folder, at, "kill"))
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -9)
    return status == -9


def state(place):
    """What a reader sees: seed and end of a run, or None."""
    if not place.exists():
        return None
    assert is_run(place)
    config = RunDirectory.open(place).read_config()
    return config["seed"], (place / "checkpoint.pt").exists() and (place / "checkpoint.pt").read_bytes() == b"end"


@pytest.mark.parametrize("second", [0, 1, 4, 9])
def test_a_new_run_is_absent_or_resumable_at_every_step(tmp_path, second):
    """second: of the resumed run, which is killed as well."""
    at, absent = 0, 0
    while True:
        at += 1
        folder = tmp_path / str(at)
        folder.mkdir()
        place = folder / "a.vbpi"
        if not killed(folder, at, lambda place=place: fit(place, 1)):
            break
        if state(place) is None:
            absent += 1
            fit(place, 1)
        else:
            killed(folder, second, lambda place=place: resume(place))
            resume(place)
        assert state(place) == (1, True)
        assert not hidden(folder)
    assert at > 12, at
    assert 0 < absent < at // 2


@pytest.mark.parametrize("forced", [False, True])
def test_a_run_is_the_old_or_the_new_one_at_every_step_of_a_replacement(tmp_path, forced):
    """forced: whether the next command begins the replacement once more, or continues it."""
    at, seen = 0, set()
    while True:
        at += 1
        folder = tmp_path / str(at)
        folder.mkdir()
        place = folder / "a.vbpi"
        fit(place, 1)
        (place / "mine.txt").write_text("mine")
        if not killed(folder, at, lambda place=place: fit(place, 2, force=True)):
            break
        found = state(place)
        if found is None:
            # Between the two renames: the next command that looks finds the new run.
            found = (RunDirectory.open(place).read_config()["seed"], True)
        assert found in ((1, True), (2, True))
        seen.add(found[0])
        if found == (1, True) and forced:
            fit(place, 2, force=True)
        elif (folder / ".a.vbpi.replacement").exists():
            resume(place)
            found = (2, True)
        else:
            RunDirectory.create(folder / "a.vbpi", force=True).discard()
        assert state(place) == ((2, True) if forced else found)
        assert (place / "mine.txt").read_text() == "mine"
        assert not hidden(folder)
    assert seen == {1, 2}
    assert at > 15, at


def test_what_protected_folders_hold_is_removed_with_the_old_run(tmp_path, monkeypatch):
    """Of a user who may remove them, having opened them up; and nothing that a link leads to is opened."""
    place, elsewhere = tmp_path / "a.vbpi", tmp_path / "elsewhere"
    elsewhere.mkdir()
    fit(place, 1)
    (place / "sub").mkdir()
    (place / "sub" / "mine.txt").write_text("mine")
    (place / "link").symlink_to(elsewhere)
    for folder in (place / "sub", place, elsewhere):
        folder.chmod(0o555)
    removed, rmtree = [], shutil.rmtree

    def seen(folder, **options):
        # As root all can be removed, so look at what others could.
        removed.extend(path for path in [folder, *folder.rglob("*")] if path.is_dir() and not path.is_symlink())
        assert all(path.stat().st_mode & 0o700 == 0o700 for path in removed)
        rmtree(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", seen)
    fit(place, 2, force=True)
    assert len([path for path in removed if path.name == "sub"]) == 1
    assert elsewhere.stat().st_mode & 0o777 == 0o555
    assert (place / "sub" / "mine.txt").read_text() == "mine"
    assert state(place) == (2, True)
    assert not hidden(tmp_path)


def test_what_cannot_be_removed_of_an_old_run_does_not_hinder_the_next(tmp_path, monkeypatch):
    """As on file systems that keep what is open elsewhere."""
    place = tmp_path / "a.vbpi"
    fit(place, 1)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *given, **options: None)
        fit(place, 2, force=True)
        fit(place, 3, force=True)
        assert state(place) == (3, True)
        assert len(hidden(tmp_path)) == 2
    fit(place, 4, force=True)
    assert state(place) == (4, True)
    assert not hidden(tmp_path)


def test_a_link_to_a_run_is_called_a_link(tmp_path):
    fit(tmp_path / "a.vbpi", 1)
    (tmp_path / "b.vbpi").symlink_to("a.vbpi")
    with pytest.raises(RunDirectoryError, match=r"b\.vbpi is a link: name the folder itself, a\.vbpi, or choose another place"):
        RunDirectory.create(tmp_path / "b.vbpi", force=True)
