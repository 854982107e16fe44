"""Compiled kernels are loaded from nowhere that others can write, and a damaged cache is compiled anew."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from vbpi_mix import kernel_cache

# A kernel in a file of its own, called twice in a row by fresh processes; prints the result, and how often the cache served.
KERNEL = """
from vbpi_mix.accelerate import kernel

@kernel
def twice(x):
    return 2 * x
"""
CALL = """
import sys
sys.path.insert(0, sys.argv[1])
from one_kernel import twice
print(twice(21), sum(twice.stats.cache_hits.values()))
"""


@pytest.mark.parametrize(
    ("mode", "above", "trusted"),
    [(0o700, 0o700, True), (0o755, 0o755, True), (0o777, 0o755, False), (0o770, 0o755, False), (0o700, 0o777, False),
     (0o700, 0o1777, True)],
)  # fmt: skip
def test_a_folder_is_trusted_if_nobody_else_can_change_what_is_in_it(tmp_path, mode, above, trusted):
    folder = tmp_path / "above" / "kernels"
    folder.mkdir(parents=True)
    folder.chmod(mode)
    folder.parent.chmod(above)
    assert kernel_cache.is_trusted(folder) == trusted
    (tmp_path / "link").symlink_to(folder)
    assert kernel_cache.is_trusted(tmp_path / "link") == trusted
    folder.parent.chmod(0o700)


def test_a_folder_of_another_user_is_not_trusted(tmp_path, monkeypatch):
    assert kernel_cache.is_trusted(tmp_path)
    assert not kernel_cache.is_trusted(tmp_path / "none")
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert not kernel_cache.is_trusted(tmp_path)


def test_the_cache_is_made_closed_to_others(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = os.umask(0)
    try:
        made = kernel_cache.trusted_folder("0123")
    finally:
        os.umask(before)
    assert made == str(tmp_path / "cache" / "vbpi-mix" / "kernels" / "0123")
    assert os.stat(made).st_mode & 0o777 == 0o700


@pytest.fixture
def call(tmp_path):
    """Call the kernel in a process of its own: its result, and how often the cache served; the files of the cache."""
    (tmp_path / "one_kernel.py").write_text(KERNEL)
    (tmp_path / "cache").mkdir(mode=0o700)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def ask():
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", CALL, str(tmp_path)], env=environment, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        result, hits = map(int, done.stdout.split())
        assert result == 42
        return hits, sorted(path for path in (tmp_path / "cache").rglob("*.nb?"))

    return ask


def test_a_damaged_cache_is_rebuilt_in_silence(call):
    assert call()[0] == 0
    hits, files = call()
    assert hits == 1
    assert [path.suffix for path in files] == [".nbc", ".nbi"]
    for damage in (lambda data: data[:-40], lambda data: data[:100] + b"x" + data[101:], lambda data: b""):
        for path in files:
            path.write_bytes(damage(path.read_bytes()))
        assert call()[0] == 0
        assert call()[0] == 1


def test_a_cache_that_others_can_write_is_neither_loaded_nor_filled(call, tmp_path):
    call()
    (tmp_path / "cache").chmod(0o777)
    hits, files = call()
    assert hits == 0
    for path in files:
        path.unlink()
    assert call() == (0, [])
