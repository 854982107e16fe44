"""`vbpi-mix data`: list the benchmark alignments, fetch them, check them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from vbpi_mix.phylo.benchmarks import Benchmark

_EPILOG = """\b
Examples:
  vbpi-mix data list
  vbpi-mix data get DS1 --to .
  vbpi-mix data verify

Files are looked for in the folder that VBPI_MIX_DATA names (laid out DS1/DS1.nex, DS1/DS1.fasta ...), then in
the user's cache, then downloaded to the cache."""
_LINE = "{:<5} {:>5} {:>6} {:>9} {:>11}  {}"


@click.group("data", epilog=_EPILOG)
def command() -> None:
    """Benchmark alignments DS1 to DS8: list them, fetch them, check them."""


@command.command("list", short_help="Show what there is, and where.")
def list_command() -> None:
    """Show the benchmarks, a published marginal log-likelihood of each, and where its file is."""
    from vbpi_mix.phylo.benchmarks import benchmark, benchmark_names, locate

    lines = [_LINE.format("name", "taxa", "sites", "patterns", "log p(data)", "file")]
    for name in benchmark_names():
        known = benchmark(name)
        first = known.marginal_log_likelihood[0]
        where = locate(name) or f"not here; vbpi-mix data get {name}"
        lines.append(_LINE.format(name, known.taxa, known.sites, known.patterns, f"{first.mean:.2f}", where))
    lines.append(f"log p(data): {first.method}, JC69 ({first.source})")
    click.echo("\n".join(lines))


@command.command("get", short_help="Fetch benchmarks.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--to", "folder", type=click.Path(path_type=Path), help="Also write DSn.nex and DSn.fasta there."
)
@click.option("--force", is_flag=True, help="Replace files of these names that differ.")
@click.option("--offline", is_flag=True, help="Never download (VBPI_MIX_OFFLINE=1 does the same).")
def get_command(names: tuple[str, ...], folder: Path | None, force: bool, offline: bool) -> None:
    """Make benchmarks available, downloading what is not here; prints the path of each alignment."""
    from vbpi_mix.phylo.benchmarks import benchmark, obtain

    wanted = [benchmark(name) for name in names]
    paths = [obtain(known.name, offline=offline) for known in wanted]
    if folder is not None:
        paths = [_copy(known, folder, force) for known in wanted]
    for known, path in zip(wanted, paths, strict=True):
        click.echo(f"{known.name}  {path}")


@command.command("verify", short_help="Check the files that are here.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
def verify_command(names: tuple[str, ...]) -> None:
    """Check the files that are here (all benchmarks by default); never downloads."""
    from vbpi_mix.phylo.benchmarks import BenchmarkError, benchmark, benchmark_names, verify

    checked = 0
    for known in [benchmark(name) for name in names or benchmark_names()]:
        files = verify(known.name)
        for file in files:
            click.echo(f"{known.name}  ok  {file}")
        if names and not files:
            raise BenchmarkError(f"{known.name} is not here; fetch it with: vbpi-mix data get {known.name}")
        checked += len(files)
    if not checked:
        raise BenchmarkError("no benchmark is here; fetch one with: vbpi-mix data get DS1")


def _copy(known: Benchmark, folder: Path, force: bool) -> Path:
    """Copy both formats into the folder, or neither; the path of the NEXUS file, or of the only one."""
    from vbpi_mix.phylo.benchmarks import BenchmarkError, locate
    from vbpi_mix.training.files import write_bytes

    found = {path for path in (locate(known.name), locate(known.name, as_fasta=True)) if path is not None}
    contents = {folder / path.name: path.read_bytes() for path in sorted(found)}
    for target, content in contents.items():
        if target.exists() and not force and not (target.is_file() and target.read_bytes() == content):
            raise BenchmarkError(f"{target}: there is another file of this name; move it, or give --force")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for target, content in contents.items():
            write_bytes(target, content)
    except OSError as error:
        raise BenchmarkError(f"{folder}: cannot be written ({error.strerror}); give another folder") from None
    return max(contents, key=lambda target: target.suffix == ".nex")
