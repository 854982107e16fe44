"""Files that a user names: read or refused in one line, free to be written, written whole or not at all."""

from __future__ import annotations

import ast
import bz2
import gzip
import hashlib
import io
import lzma
import os
import resource
import signal
import sys
import tempfile
import warnings
from pathlib import Path

import pytest

from vbpi_mix import leftovers
from vbpi_mix.errors import AlignmentError, ConfigError, TreeError
from vbpi_mix.files import (
    append_text,
    atomic_write,
    check_folder,
    check_free,
    check_writable,
    read_bytes,
    sha256_of,
    write_all,
    write_together,
    write_whole,
)

ROOT = Path(__file__).resolve().parents[1]


def test_plain_and_compressed_files_read_the_same(tmp_path):
    (tmp_path / "plain").write_bytes(b"\xef\xbb\xbfabc\n")
    (tmp_path / "packed").write_bytes(gzip.compress(b"abc\n"))
    assert read_bytes(tmp_path / "plain", "tree file", TreeError) == b"abc\n"
    assert read_bytes(tmp_path / "packed", "tree file", TreeError) == b"abc\n"
    assert sha256_of(tmp_path / "plain") == hashlib.sha256(b"\xef\xbb\xbfabc\n").hexdigest()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"), (b" \n", "is empty"), (gzip.compress(b"abc" * 100, mtime=0)[:-9], "damaged or cut short"),
        (bz2.compress(b"abc"), "not a text file, but packed by bzip2; unpack it, or pack it by gzip"),
        (lzma.compress(b"abc"), "not a text file, but packed by xz; unpack it"),
        (b"PK\x03\x04\x00\x00", "not a text file, but packed by zip; unpack it"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_the_error_that_was_asked_for(tmp_path, content, words):
    if content is not None:
        (tmp_path / "x").write_bytes(content)
    with pytest.raises(AlignmentError, match=words):
        read_bytes(tmp_path / "x", "alignment", AlignmentError)


def test_places_are_free_or_refused(tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    check_free([tmp_path / "new", None, str(tmp_path / "other")], force=False)
    check_free([taken], force=True)
    for places, force, words in [
        ([taken], False, "exists; choose another name, or replace it with --force"),
        ([tmp_path], True, "is a folder"),
        ([tmp_path / "no" / "x"], True, "does not exist"),
        ([taken / "x"], True, "taken is a file and no folder; choose another place"),
        ([taken / "x" / "y"], True, "taken is a file and no folder; choose another place"),
        ([tmp_path / "x", tmp_path / "x"], True, "two outputs"),
    ]:
        with pytest.raises(ConfigError, match=words):
            check_free(places, force)
    with pytest.raises(TreeError, match="does not exist"):
        check_folder(tmp_path / "no" / "run", TreeError)
    assert taken.read_text() == "mine"


def test_a_file_is_written_whole_or_refused(tmp_path):
    write_whole(tmp_path / "text", "a\n")
    write_whole(tmp_path / "bytes", b"\x00\xff")
    assert (tmp_path / "text").read_bytes() == b"a\n"
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"
    (tmp_path / "folder").mkdir()
    with pytest.raises(TreeError, match="cannot be written"):
        write_whole(tmp_path / "folder", "a", TreeError)
    with pytest.raises(TreeError, match="cannot be written"):
        write_whole(tmp_path / "no" / "x", "a", TreeError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bytes", "folder", "text"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_have_the_permissions_that_the_umask_gives(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "x", "a")
        write_together(tmp_path / "folder", {"one": "1", "two": "2"})
        append_text(tmp_path / "log", "line\n")
    finally:
        os.umask(before)
    for name in ("x", "folder/one", "folder/two", "log"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~mask, name
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~mask


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    check_free([pipe], force=False)
    write_whole(pipe, "through\n")
    assert os.read(reader, 100) == b"through\n"
    os.close(reader)
    assert not pipe.is_file()
    with pytest.raises(ConfigError, match=r"/dev/full: cannot be written \(No space left on device\)"):
        write_whole("/dev/full", "a" * 100)


def test_names_too_long_are_refused_before_and_while_writing(tmp_path):
    longest = "n" * 255
    check_free([tmp_path / longest], force=False)
    write_whole(tmp_path / longest, "fits\n")
    assert (tmp_path / longest).read_text() == "fits\n"
    for attempt in (lambda place: check_free([place], force=False), lambda place: write_whole(place, "a")):
        with pytest.raises(ConfigError, match="File name too long") as caught:
            attempt(tmp_path / (longest + "n"))
        assert "\n" not in str(caught.value)


def test_a_full_disk_is_found_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: io.FileIO("/dev/full", "w"))
    for check in (lambda: check_free([tmp_path / "x"], force=False), lambda: check_writable(tmp_path)):
        with pytest.raises(ConfigError, match=r"nothing can be written there \(No space left on device\); choose another place"):
            check()


def test_an_error_names_the_file_that_was_meant(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "no" / "x"):
        pass
    assert caught.value.filename == str(tmp_path / "no" / "x")


@pytest.mark.parametrize("step", range(9))
def test_files_written_together_by_a_killed_process_are_as_before(tmp_path, step):
    """One of three is new. After any number of renames the next call finds all as they were, or all new."""
    old, new = {"a": "old a", "b": "old b"}, {"a": "new a", "b": "new b", "c": "new c"}
    write_together(tmp_path, old)
    (tmp_path / "mine").write_text("mine")
    with warnings.catch_warnings():
        # Other threads of this process do not matter to a child that only writes files.
        warnings.simplefilter("ignore")
        child = os.fork()
    if not child:
        renames = 0

        def kill(event, given):
            nonlocal renames
            renames += event == "os.rename"
            if renames > step:
                os._exit(9)

        sys.addaudithook(kill)
        write_together(tmp_path, new)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    leftovers.sweep(tmp_path)
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"mine": "mine", **(old if status else new)}


def test_what_is_still_being_written_is_not_swept_away(tmp_path):
    with atomic_write(tmp_path / "x") as file:
        leftovers.sweep(tmp_path)
        file.write("whole\n")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "whole\n"
    (tmp_path / ".x.0123abcd.part").write_text("half")
    check_free([tmp_path / "x"], force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_cannot_be_appended_whole_is_not_appended(tmp_path):
    place = tmp_path / "log"
    append_text(place, "first\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            append_text(place, "second\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(place)
    assert place.read_text() == "first\n"


def test_files_are_replaced_in_two_modules():
    """Nothing else makes a temporary file or takes the place of one."""
    replacing = {"replace": "os", "mkstemp": "tempfile", "NamedTemporaryFile": "tempfile"}
    found = set()
    for path in [*(ROOT / "vbpi_mix").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called_on = node.value if isinstance(node, ast.Attribute) else None
            if isinstance(called_on, ast.Name) and replacing.get(node.attr) == called_on.id:
                found.add(path.relative_to(ROOT).as_posix())
    assert found == {"vbpi_mix/files.py", "vbpi_mix/leftovers.py"}


def test_what_a_stranger_left_leads_nowhere(tmp_path):
    """A list of names that was put there to have files moved from elsewhere."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    planted = tmp_path / "shared" / ".run.abcdefgh.part"
    (planted / "replaced").mkdir(parents=True)
    (planted / "names.json").write_text('["../mine.txt"]')
    leftovers.sweep(tmp_path / "shared")
    assert not planted.exists()
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_files_in_several_folders_are_written_all_or_none(tmp_path, monkeypatch):
    (tmp_path / "one").mkdir()
    first, second = tmp_path / "x", tmp_path / "one" / "y"
    first.write_text("old")
    first.chmod(0o640)
    fsync, count = os.fsync, [0]

    def full(descriptor):
        count[0] += 1
        if count[0] == 2:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"y: cannot be written \(No space left on device\)"):
        write_all({str(first): "new", str(second): b"\xff"})
    assert (first.read_text(), os.listdir(tmp_path / "one"), sorted(os.listdir(tmp_path))) == ("old", [], ["one", "x"])
    write_all({str(first): "new\n", str(second): b"\xff", os.devnull: "gone"})
    assert (first.read_bytes(), second.read_bytes()) == (b"new\n", b"\xff")
    assert first.stat().st_mode & 0o777 == 0o640
    with pytest.raises(ConfigError, match="no/z: cannot be written"):
        write_all({str(tmp_path / "z"): "", str(tmp_path / "no" / "z"): ""})
    assert sorted(os.listdir(tmp_path)) == ["one", "x"]
