"""`vbpi-mix data`: list the benchmark alignments and image data sets, fetch them, check them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from vbpi_mix.image.sources import ImageSet
    from vbpi_mix.phylo.data.benchmarks import Benchmark

_EPILOG = """\b
Examples:
  vbpi-mix data list
  vbpi-mix data get DS1 --to .
  vbpi-mix data get mnist
  vbpi-mix data verify

Files are sought in the folder that VBPI_MIX_DATA names (laid out DS1/DS1.nex, DS1/DS1.fasta ..., and
mnist/train-images-idx3-ubyte.gz ...), then in the user's cache, then downloaded to the cache."""
_LINE = "{:<5} {:>5} {:>6} {:>9} {:>11}  {}"
_IMAGE_LINE = "{:<13} {:>9} {:>7} {:>6}  {}"


@click.group("data", epilog=_EPILOG)
def command() -> None:
    """Benchmark alignments DS1 to DS8 and image data sets: list them, fetch them, check them."""


@command.command("list", short_help="Show what there is, and where.")
def list_command() -> None:
    """Show the benchmarks, a published marginal log-likelihood of each, the image data sets, and where files are."""
    from vbpi_mix.phylo.data.benchmarks import benchmark, benchmark_names, locate

    lines = [_LINE.format("name", "taxa", "sites", "patterns", "log p(data)", "file")]
    for name in benchmark_names():
        known = benchmark(name)
        first = known.marginal_log_likelihood[0]
        where = locate(name) or f"not here; vbpi-mix data get {name}"
        lines.append(_LINE.format(name, known.taxa, known.sites, known.patterns, f"{first.mean:.2f}", where))
    lines.append(f"log p(data): {first.method}, JC69 ({first.source})")
    click.echo("\n".join([*lines, "", *_image_lines()]))


def _image_lines() -> list[str]:
    """The table of image data sets."""
    from vbpi_mix.image.sources import image_set, image_set_names, locate

    lines = [_IMAGE_LINE.format("images", "pixels", "train", "test", "folder")]
    for name in image_set_names():
        known = image_set(name)
        found = None if known.is_bundled else locate(name)
        where = str(found.folder) if found is not None else f"not here; vbpi-mix data get {name}"
        if known.is_bundled:
            where = "in scikit-learn"
        pixels = f"{known.height}x{known.width}" + (f"x{known.channels}" if known.channels > 1 else "")
        lines.append(_IMAGE_LINE.format(name, pixels, known.train, known.test or "", where))
    return lines


@command.command("get", short_help="Fetch benchmarks and image data sets.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--to", "folder", type=click.Path(path_type=Path), help="Also write DSn.nex and DSn.fasta there."
)
@click.option("--force", is_flag=True, help="Replace files of these names that differ.")
@click.option("--offline", is_flag=True, help="Never download (VBPI_MIX_OFFLINE=1 does the same).")
def get_command(names: tuple[str, ...], folder: Path | None, force: bool, offline: bool) -> None:
    """Make benchmarks and image data sets available, downloading what is not here; prints where each is."""
    from vbpi_mix.files import check_writable
    from vbpi_mix.phylo.data.benchmarks import BenchmarkError, benchmark, obtain

    if folder is not None:
        check_writable(next(each for each in (folder, *folder.absolute().parents) if each.exists()), BenchmarkError)
    image_sets = {name: images for name in names if (images := _image_set(name)) is not None}
    wanted = [benchmark(name) for name in names if name not in image_sets]
    if image_sets and folder is not None:
        raise _no_copy(next(iter(image_sets)))
    _get_images(list(image_sets.values()), offline)
    paths = [obtain(known.name, offline=offline) for known in wanted]
    if folder is not None:
        paths = [_copy(known, folder, force) for known in wanted]
    for known, path in zip(wanted, paths, strict=True):
        click.echo(f"{known.name}  {path}")


@command.command("verify", short_help="Check the files that are here.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
def verify_command(names: tuple[str, ...]) -> None:
    """Check the files that are here (all benchmarks by default); never downloads."""
    from vbpi_mix.image import sources
    from vbpi_mix.phylo.data.benchmarks import BenchmarkError, benchmark, benchmark_names, verify

    checked = 0
    for name in names or (*benchmark_names(), *sources.image_set_names()):
        images = _image_set(name)
        own_name = images.name if images is not None else benchmark(name).name
        files = verify(own_name) if images is None else sources.verify(own_name)
        for file in files:
            click.echo(f"{own_name}  ok  {file}")
        if names and not files:
            raise BenchmarkError(f"{own_name} is not here; fetch it with: vbpi-mix data get {own_name}")
        checked += len(files)
    if not checked:
        raise BenchmarkError("no benchmark is here; fetch one with: vbpi-mix data get DS1")


def _image_set(name: str) -> ImageSet | None:
    """The image data set of that name, if it is one."""
    from vbpi_mix.image.sources import image_set, image_set_names

    return image_set(name) if name.lower().replace("-", "_") in image_set_names() else None


def _get_images(wanted: list[ImageSet], offline: bool) -> None:
    from vbpi_mix.image.sources import obtain

    for known in wanted:
        where = "comes with scikit-learn"
        if not known.is_bundled:
            where = str(obtain(known.name, offline=offline).folder)
        click.echo(f"{known.name}  {where}")


def _no_copy(name: str) -> Exception:
    from vbpi_mix.image.formats import DatasetError

    return DatasetError(f"--to is for alignments: leave it out, and {name} goes to the cache, where it is found")


def _copy(known: Benchmark, folder: Path, force: bool) -> Path:
    """Copy both formats into the folder, or neither; the path of the NEXUS file, or of the only one."""
    from vbpi_mix.files import write_all
    from vbpi_mix.phylo.data.benchmarks import BenchmarkError, locate

    found = {path for path in (locate(known.name), locate(known.name, as_fasta=True)) if path is not None}
    contents = {folder / path.name: path.read_bytes() for path in sorted(found)}
    for target, content in contents.items():
        if target.exists() and not force and not (target.is_file() and target.read_bytes() == content):
            raise BenchmarkError(f"{target}: another file of this name exists; move it, or give --force")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchmarkError(f"{folder}: cannot be written ({error.strerror}); give another folder") from None
    write_all({str(target): content for target, content in contents.items()}, BenchmarkError)
    return max(contents, key=lambda target: target.suffix == ".nex")
