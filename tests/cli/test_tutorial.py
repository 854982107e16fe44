"""docs/tutorial.md, line by line, in its order; only shorter."""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest
from test_examples import lines_of

import vbpi_mix

ROOT = Path(__file__).resolve().parents[2]
SHORT = {
    "fit": ("--iterations", 60, "--trees-seconds", 2, "--threads", 1),
    "models": ("--iterations", 3, "--trees-seconds", 2, "--threads", 1, "--answer-draws", 100),
    "report": (),
}


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("*.nwk"))
    return (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")


def test_its_commands_run(run, page):
    lines = list(lines_of(page))
    assert [words[0] for words in lines] == ["fit", "models", "fit", "report"]
    said = []
    for words in lines:
        outcome = run(*words, *SHORT[words[0]])
        assert outcome.status == 0, outcome.err
        said.append(outcome.out)
    # The screen that the page shows has the lines of the real one.
    starts = r"eight\.vbpi|verdict|tree|most probable topology|log p\(Y\)|this is of"
    shown = re.findall(rf"^    ({starts})(?=[ :])", page, re.MULTILINE)
    real = [line for line in said[0].splitlines() if not line.startswith(("- ", "  "))]
    assert len(shown) == 6
    assert all(line.startswith(start) for line, start in zip(real, shown, strict=True))
    named = re.findall(r"`((?:eight|final)\.vbpi/[\w.]+|figure\.svg)`", page)
    assert len(named) >= 3
    for name in named:
        assert Path(name).exists(), name
    ElementTree.parse("figure.svg")
    # Of fits, at 80 columns; models make a table as wide as it must be.
    for k in (0, 2):
        assert len(said[k].splitlines()) < 22
        assert max(map(len, said[k].splitlines())) <= 80


def test_its_python_runs(page, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.setattr(vbpi_mix, "fit", partial(vbpi_mix.fit, iterations=60, threads=1, trees_seconds=2.0), raising=False)
    exec(code, {})
    assert "kappa" in capsys.readouterr().out
    ElementTree.parse("again.svg")
