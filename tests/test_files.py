"""Files that a user names: read or refused in one line, free to be written, written whole or not at all."""

from __future__ import annotations

import ast
import gzip
import hashlib
from pathlib import Path

import pytest

from vbpi_mix.errors import AlignmentError, ConfigError, TreeError
from vbpi_mix.files import check_folder, check_free, read_bytes, sha256_of, write_whole

ROOT = Path(__file__).resolve().parents[1]


def test_plain_and_compressed_files_read_the_same(tmp_path):
    (tmp_path / "plain").write_bytes(b"\xef\xbb\xbfabc\n")
    (tmp_path / "packed").write_bytes(gzip.compress(b"abc\n"))
    assert read_bytes(tmp_path / "plain", "tree file", TreeError) == b"abc\n"
    assert read_bytes(tmp_path / "packed", "tree file", TreeError) == b"abc\n"
    assert sha256_of(tmp_path / "plain") == hashlib.sha256(b"\xef\xbb\xbfabc\n").hexdigest()


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), (b" \n", "is empty"), (gzip.compress(b"abc" * 100, mtime=0)[:-9], "damaged or cut short")],
)
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


def test_files_are_replaced_in_one_module():
    """Nothing else makes a temporary file or takes the place of one."""
    replacing = {"replace": "os", "mkstemp": "tempfile", "NamedTemporaryFile": "tempfile"}
    found = set()
    for path in [*(ROOT / "vbpi_mix").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called_on = node.value if isinstance(node, ast.Attribute) else None
            if isinstance(called_on, ast.Name) and replacing.get(node.attr) == called_on.id:
                found.add(path.relative_to(ROOT).as_posix())
    assert found == {"vbpi_mix/files.py"}
