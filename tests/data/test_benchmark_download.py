"""Downloads against a server of our own: whole and right, or one clear line and nothing left behind."""

import io
import socket
import sys

import pytest

from vbpi_mix.download import DownloadError
from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.data.benchmarks import BenchmarkError, find_benchmark, obtain, verify
from vbpi_mix_cli.main import main


def everything_in(folder):
    return sorted(folder.rglob("*")) if folder.exists() else []


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_download_gives_the_file_and_its_nexus(server, cache, ds1_at):
    ds1_at(server.url("good"))
    path = obtain("DS1")
    assert path == cache / "DS1" / "DS1.nex"
    assert sorted(each.name for each in (cache / "DS1").iterdir()) == ["DS1.fasta", "DS1.nex"]
    fasta = read_alignment(cache / "DS1" / "DS1.fasta")
    assert read_alignment(path).taxa == fasta.taxa == ("a", "b", "c", "d")
    assert (read_alignment(path).states == fasta.states).all()
    assert verify("DS1") == [cache / "DS1" / "DS1.fasta", path]


def test_the_cache_is_used_the_second_time(server, cache, ds1_at):
    ds1_at(server.url("good"))
    assert obtain("DS1") == obtain("DS1", offline=True)
    assert len(server.requests) == 1


def test_a_nexus_that_is_gone_is_written_again_without_a_download(server, cache, ds1_at):
    ds1_at(server.url("good"))
    obtain("DS1").unlink()
    assert obtain("DS1", offline=True).is_file()
    assert len(server.requests) == 1


def test_a_damaged_file_in_the_cache_is_replaced(server, cache, ds1_at):
    ds1_at(server.url("good"))
    obtain("DS1")
    fasta = cache / "DS1" / "DS1.fasta"
    whole = fasta.read_bytes()
    fasta.write_bytes(whole[:20])
    with pytest.raises(BenchmarkError, match="downloads are off"):
        obtain("DS1", offline=True)
    obtain("DS1")
    assert fasta.read_bytes() == whole


def test_the_next_place_is_tried_and_a_passing_fault_is_forgiven(server, cache, ds1_at):
    ds1_at(server.url("missing"), server.url("wrong"), server.url("cut"), server.url("flaky"))
    assert obtain("DS1").is_file()
    behaviours = [path.split("/")[1] for path in server.requests]
    assert behaviours == ["missing", "wrong", "cut", "cut", "cut", "flaky", "flaky"]


@pytest.mark.parametrize(
    ("behaviour", "attempts", "reason"),
    [
        ("wrong", 1, "what arrived is another file (wrong checksum)"),
        ("cut", 3, "the connection was cut before the file was whole"),
        ("missing", 1, "no such file there (404)"),
        ("broken", 3, "the server answered 503"),
    ],
)
def test_a_failed_download_says_why_in_one_line(server, cache, ds1_at, capsys, behaviour, attempts, reason):
    ds1_at(server.url(behaviour))
    with pytest.raises(SystemExit) as stop:
        main(["data", "get", "DS1"])
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: DS1.fasta cannot be downloaded (127.0.0.1:")
    assert f": {reason}); try again, or set VBPI_MIX_DATA" in err
    assert err.count("\n") == 1
    assert len(server.requests) == attempts
    assert not cache.exists()


def test_without_a_network_it_says_so_in_one_line(cache, ds1_at, capsys, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    ds1_at(f"http://127.0.0.1:{closed_port()}/DS1.fasta")
    with pytest.raises(SystemExit) as stop:
        main(["data", "get", "DS1"])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert ": no connection); try again" in err
    assert err.count("\n") == 1
    assert not cache.exists()


@pytest.mark.parametrize("by_variable", [False, True])
def test_offline_asks_nobody(server, cache, ds1_at, capsys, monkeypatch, by_variable):
    ds1_at(server.url("good"))
    if by_variable:
        monkeypatch.setenv("VBPI_MIX_OFFLINE", "1")
    with pytest.raises(SystemExit) as stop:
        main(["data", "get", "DS1", *([] if by_variable else ["--offline"])])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("error: DS1 is not here and downloads are off (offline was asked for, by option or VBPI_MIX_OFFLINE)")
    assert err.count("\n") == 1
    assert server.requests == []
    assert not cache.exists()


def test_a_failure_leaves_what_was_there(server, cache, ds1_at):
    ds1_at(server.url("cut"))
    (cache / "DS1").mkdir(parents=True)
    (cache / "DS1" / "DS1.fasta").write_bytes(b"old")
    with pytest.raises(DownloadError):
        find_benchmark("DS1")
    assert [path.name for path in everything_in(cache)] == ["DS1", "DS1.fasta"]
    assert (cache / "DS1" / "DS1.fasta").read_bytes() == b"old"


def test_a_cache_that_cannot_be_made_is_said(server, cache, ds1_at):
    ds1_at(server.url("good"))
    cache.write_text("a file where the folder should be")
    with pytest.raises(DownloadError, match="folder cannot be made"):
        obtain("DS1")


def test_a_terminal_gets_a_progress_bar(server, cache, ds1_at, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    ds1_at(server.url("good"))
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert obtain("DS1").is_file()
    assert "DS1.fasta" in sys.stderr.getvalue()
