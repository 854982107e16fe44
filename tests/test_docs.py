"""Code that pages show is code that runs."""

from __future__ import annotations

import re
import shutil
import textwrap
from functools import partial
from pathlib import Path

import vbpi_mix

ROOT = Path(__file__).resolve().parents[1]


def test_the_page_of_the_estimators_finds_the_evidence_of_its_target():
    """The density is normalised: log Z is 0, and the bound of a mixture is below it."""
    page = (ROOT / "docs" / "estimators.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    assert abs(names["evidence"]) < 0.05
    assert -0.4 < names["bound"] < names["evidence"]


def test_the_lines_of_the_readme_run(tmp_path, monkeypatch, capsys):
    """On a small alignment by the names that they use, and with a few iterations."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"## From Python\n\n((?:    .*\n)+)", readme)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ufboot").mkdir()
    shutil.copy(ROOT / "examples" / "eight.nex", "DS1.nex")
    shutil.copy(ROOT / "examples" / "eight.nwk", "ufboot/rep_1.gz")
    short = partial(vbpi_mix.fit, iterations=3, threads=1)
    monkeypatch.setattr(vbpi_mix, "fit", short, raising=False)
    names: dict[str, object] = {}
    exec(textwrap.dedent(lines).replace("50_000", "5"), names)
    assert names["run"].summary["iterations"] == 5
    assert len(names["trees"]) == 1000
    assert -4000 < float(capsys.readouterr().out.split()[0]) < -3800
