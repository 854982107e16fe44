"""Code that pages show runs; what pages and docstrings name is there."""

from __future__ import annotations

import ast
import io
import pkgutil
import re
import shutil
import textwrap
import tokenize
from functools import partial
from pathlib import Path

import pytest
from test_architecture import NEIGHBOURS

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


PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
SOURCES = sorted(path for folder in ("vbpi_mix", "cli", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


def links_of(page):
    """The targets of a page's links and images, those of other sites left out."""
    found = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors_of(page):
    """The anchors that a page's headings make."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_resolve(page):
    for link in links_of(page):
        target, _, anchor = link.partition("#")
        place = page.parent / target if target else page
        assert place.exists(), link
        assert not anchor or anchor in anchors_of(place), link


def test_every_page_is_reached_from_the_index():
    index = ROOT / "docs" / "README.md"
    reached, waiting = set(), [index]
    while waiting:
        page = waiting.pop()
        if page.suffix == ".md" and page not in reached:
            reached.add(page)
            waiting.extend((page.parent / link.partition("#")[0]).resolve() for link in links_of(page))
    assert set(PAGES) <= reached


def test_every_figure_and_table_of_the_results_is_shown_or_linked():
    development = ROOT / "docs" / "development"
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for place in [*(development / "figures").iterdir(), *(development / "results").iterdir()]:
        # A family of tables is named by a pattern, as quality-*.csv.
        names = {place.name, re.sub(r"^(\w+)-.*\.", r"\1-*.", place.name)}
        assert any(name in text for name in names), place


def named_files(text):
    """Python files and pages named in a text, with or without folders; patterns left out."""
    return set(re.findall(r"(?<![\w/.*$}-])(?:[\w-]+/)*[\w-]+\.(?:py|md)\b", text))


def words_of(source):
    """Docstrings and comments of a Python file."""
    text = source.read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text)) if isinstance(node, documented)]
    return "\n".join(comments + docstrings)


def stands(name, source):
    """Whether a file is where its name says: from the root, or from a folder above the source, up to its package.

    A name without a folder may stand anywhere in the code.
    """
    folders = [ROOT, *(folder for folder in source.parents if folder.is_relative_to(ROOT))]
    if any((folder / name).is_file() for folder in folders):
        return True
    return "/" not in name and any(path.name == name for path in [*SOURCES, *PAGES])


def test_files_named_in_pages_and_docstrings_exist():
    missing = {
        f"{source.relative_to(ROOT)}: {name}"
        for source in [*PAGES, *SOURCES]
        for name in named_files(words_of(source) if source.suffix == ".py" else source.read_text(encoding="utf-8"))
        if not stands(name, source)
    }
    assert not missing


def test_objects_named_in_pages_exist():
    for page in PAGES:
        for name in set(re.findall(r"`(vbpi_mix(?:\.\w+)+)", page.read_text(encoding="utf-8"))):
            pkgutil.resolve_name(name)


def test_terms_that_docstrings_define_are_in_the_glossary():
    """A term is defined where it stands between single asterisks."""
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    terms = {term.strip() for row in rows for term in row.split(",")}
    library = [source for source in SOURCES if source.is_relative_to(ROOT / "vbpi_mix" / "phylo")]
    defined = {term for source in library for term in re.findall(r"(?<!\w)\*([a-z][a-z -]*)\*(?!\w)", words_of(source))}
    assert {"tripartition", "profile", "round"} <= defined <= terms


def test_the_house_page_names_every_room():
    text = (ROOT / "docs" / "development" / "house.md").read_text(encoding="utf-8")
    for room in NEIGHBOURS:
        name = "cli" if room == "cli" else f"vbpi_mix/{room}"
        assert f"`{name}`" in text or f"`{name}.py`" in text, room
