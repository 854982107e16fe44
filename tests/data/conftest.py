"""Benchmarks in an empty world: no data folder, an empty cache, and a server of our own to download from."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vbpi_mix import data_files, download
from vbpi_mix.phylo.data import benchmarks

FASTA = b">a\nACGTA\n>b\nACGTC\n>c\nAC-TA\n>d\nACGAN\n"


class Server(ThreadingHTTPServer):
    """Answers by the first folder of the path; `requests` holds the paths asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.requests: list[str] = []

    def url(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{behaviour}/DS1.fasta"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        behaviour = self.path.split("/")[1]
        if behaviour == "missing":
            self.send_error(404)
            return
        if behaviour == "broken" or (behaviour == "flaky" and self.server.requests.count(self.path) == 1):
            self.send_error(503)
            return
        body = FASTA.replace(b"ACGTC", b"ACGTT") if behaviour == "wrong" else FASTA
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + (1000 if behaviour == "cut" else 0)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the cache, not made yet; downloads do not wait between attempts."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(data_files, "cache_folder", lambda: folder)
    monkeypatch.setattr(download, "SECONDS_BETWEEN_ATTEMPTS", 0.0)
    monkeypatch.delenv("VBPI_MIX_DATA", raising=False)
    monkeypatch.delenv("VBPI_MIX_OFFLINE", raising=False)
    return folder


@pytest.fixture
def ds1_at(cache: Path, monkeypatch: pytest.MonkeyPatch):
    """Call with URLs: DS1 becomes the small alignment FASTA, to be had there."""
    real = benchmarks.benchmark

    def place(*urls: str) -> None:
        small = replace(
            real("DS1"), urls=urls, sha256=hashlib.sha256(FASTA).hexdigest(), taxa=4, sites=5, patterns=5
        )
        monkeypatch.setattr(benchmarks, "benchmark", lambda n: small if n.upper() == "DS1" else real(n))

    return place
