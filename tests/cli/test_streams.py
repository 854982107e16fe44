"""Standard output and error that are closed, full, or read by nobody."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from vbpi_mix_cli.streams import Forgiving

SIMULATE = "from vbpi_mix_cli.main import main; main(['simulate', '--taxa', '4', '--sites', '20', '--out', 'x.nex'])"


def test_standard_error_that_nobody_reads_fails_nobody():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        shown = Forgiving(stream)
        assert not shown.isatty()
        for _ in range(3):
            assert shown.write("progress\n") == 9
            shown.flush()


@pytest.mark.parametrize(
    ("redirection", "status", "words"),
    [("2>&-", 0, ""), ("1>&- 2>&-", 0, ""), ("2>/dev/full", 0, ""), (">/dev/full", 2, "error: standard output cannot be")],
)
def test_a_command_ends_well_whatever_its_streams(tmp_path, redirection, status, words):
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -c "{SIMULATE}" {redirection}'], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == status, done.stderr
    assert len(done.stderr.splitlines()) == (1 if words else 0)
    assert words in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.nex", "x.nwk"]
    assert (tmp_path / "x.nex").read_text().endswith(";\n")
