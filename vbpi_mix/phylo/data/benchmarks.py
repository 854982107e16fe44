"""The benchmark alignments DS1 ... DS8: what they are, and where their files are.

The facts come from data/DSn/dataset.yaml; the alignments are not part of this package. A file is sought

1. in the folder that the environment variable VBPI_MIX_DATA names, as DSn/DSn.nex and DSn/DSn.fasta;
2. in the user's cache, with the same layout;
3. at the public places of dataset.yaml, from where the FASTA file goes to the cache, checked against its
   checksum, and is written as NEXUS beside it.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from vbpi_mix import data_files
from vbpi_mix.data_files import DATA_VARIABLE
from vbpi_mix.download import OFFLINE_VARIABLE, DownloadError, download, is_offline
from vbpi_mix.errors import TreeError, VbpiMixError
from vbpi_mix.files import sha256_of
from vbpi_mix.phylo.data.alignment import read_alignment, write_nexus
from vbpi_mix.phylo.data.site_patterns import compress
from vbpi_mix.phylo.trees.find import expand_paths, find_tree_samples

_FASTA_SUFFIXES = (".fasta", ".fas", ".fa")
_NEXUS_SUFFIXES = (".nex", ".nexus", ".nxs")
_CURE = "delete it and fetch it again"
# Tree samples to build a support from, best first; the golden runs are kept to compare with.
_SAMPLE_PATTERNS = ("mrbayes_short/*.trprobs*", "mb_10M/*.trprobs*")


class BenchmarkError(VbpiMixError):
    """A benchmark is unknown, not at hand, or not what its description says."""


@dataclass(frozen=True)
class PublishedValue:
    """A published value with its standard deviation over repeats, None where none is given."""

    method: str
    mean: float
    sd: float | None
    source: str


@dataclass(frozen=True)
class Benchmark:
    """What is known of one benchmark.

    patterns: distinct columns, all missing characters being one state; sha256: of the FASTA file; urls: where
    that file is, in the order to try; marginal_log_likelihood, single_sample_elbo: published values.
    """

    name: str
    description: str
    taxa: int
    sites: int
    patterns: int
    citation: str
    treebase_study: str
    sha256: str
    urls: tuple[str, ...]
    marginal_log_likelihood: tuple[PublishedValue, ...]
    single_sample_elbo: tuple[PublishedValue, ...]


@cache
def benchmark_names() -> tuple[str, ...]:
    """The names of all benchmarks, in order."""
    folders = resources.files("vbpi_mix_data").iterdir()
    return tuple(sorted(folder.name for folder in folders if folder.joinpath("dataset.yaml").is_file()))


@cache
def benchmark(name: str) -> Benchmark:
    """The facts of a benchmark; capitals do not matter. Raises BenchmarkError, with the nearest names."""
    known = {each.lower(): each for each in benchmark_names()}
    if name.lower() not in known:
        raise BenchmarkError(f"no benchmark is called {name!r}; {_nearest(name)}")
    text = resources.files("vbpi_mix_data").joinpath(known[name.lower()], "dataset.yaml").read_text("utf-8")
    facts: dict[str, Any] = yaml.safe_load(text)
    return Benchmark(
        sha256=facts["alignment"]["sha256"],
        urls=tuple(place["url"] for place in facts["alignment"]["locations"]),
        marginal_log_likelihood=_published(facts["marginal_log_likelihood"]),
        single_sample_elbo=_published(facts["single_sample_elbo"]),
        **{key: facts[key] for key in ("name", "description", "taxa", "sites", "patterns")},
        **{key: facts[key] for key in ("citation", "treebase_study")},
    )


def find_benchmark(name_or_path: str | os.PathLike[str], *, offline: bool = False) -> Path | None:
    """The alignment file of the benchmark that is meant, downloaded if need be; None if a path is meant.

    A path is meant if it names an existing file or holds a folder. Anything else must be the name of a
    benchmark, alone or with the suffix of FASTA or NEXUS; NEXUS is what a bare name gives. Raises
    BenchmarkError for any other name, with the nearest ones, and if the file is not at hand and offline;
    DownloadError if it cannot be downloaded.
    """
    text = os.fspath(name_or_path)
    path = Path(text)
    if path.is_file() or path.name != text:
        return None
    stem, suffix = os.path.splitext(text)
    if suffix.lower() not in (*_FASTA_SUFFIXES, *_NEXUS_SUFFIXES):
        stem, suffix = text, ""
    if stem.lower() not in (name.lower() for name in benchmark_names()):
        raise BenchmarkError(f"{text}: no such file here, and no benchmark of that name; {_nearest(stem)}")
    return obtain(benchmark(stem).name, as_fasta=suffix.lower() in _FASTA_SUFFIXES, offline=offline)


def obtain(name: str, *, as_fasta: bool = False, offline: bool = False) -> Path:
    """The alignment file of a benchmark, downloaded if it is nowhere here.

    Where only the other format is there, that one is given: readers go by content. Raises as find_benchmark.
    """
    known = benchmark(name)
    found = locate(name, as_fasta=as_fasta)
    if found is None:
        _download(known, offline)
        found = locate(name, as_fasta=as_fasta)
    if found is None:
        raise BenchmarkError(f"{known.name}: not in {data_files.cache_folder()} although just written there; try again")
    return found


def locate(name: str, *, as_fasta: bool = False) -> Path | None:
    """The alignment file of a benchmark if it is at hand, in VBPI_MIX_DATA or in the cache; else None.

    A cached file counts only if its FASTA file has the right checksum. Raises DataFolderError if VBPI_MIX_DATA
    names no folder.
    """
    known = benchmark(name)
    suffixes = (".fasta", ".nex") if as_fasta else (".nex", ".fasta")
    own = data_files.data_folder()
    for folder in [own, data_files.cache_folder()] if own else [data_files.cache_folder()]:
        files = [folder / known.name / f"{known.name}{suffix}" for suffix in suffixes]
        present = [file for file in files if file.is_file()]
        if folder != own and (len(present) < 2 or sha256_of(files[suffixes.index(".fasta")]) != known.sha256):
            continue
        if present:
            return present[0]
    return None


def benchmark_tree_samples(name: str) -> list[Path]:
    """Tree samples of a benchmark to build a support from; an empty list unless VBPI_MIX_DATA has some.

    One family is given, in natural order: those that find_tree_samples knows (the UFBoot trees in `ufboot`
    above all), else the short MrBayes runs, else the long MrBayes run. The golden runs are never given, since
    they are what a fit is compared with.
    """
    own = data_files.data_folder()
    if own is None:
        return []
    folder = own / benchmark(name).name
    samples = find_tree_samples(folder / f"{benchmark(name).name}.nex")
    for pattern in _SAMPLE_PATTERNS:
        if not samples:
            try:
                samples = expand_paths([folder / pattern])
            except TreeError:
                continue
    return samples


def verify(name: str) -> list[Path]:
    """The files of a benchmark that are at hand, after checking them; an empty list if none is.

    The FASTA file must have the known checksum; every file the known numbers of taxa, sites and patterns; and
    NEXUS and FASTA must be the same alignment. Raises BenchmarkError, or AlignmentError, at the first fault.
    """
    known = benchmark(name)
    own = data_files.data_folder()
    folders = [own, data_files.cache_folder()] if own else [data_files.cache_folder()]
    names = [f"{known.name}.fasta", f"{known.name}.nex"]
    files = [folder / known.name / file_name for folder in folders for file_name in names]
    present = [file for file in files if file.is_file()]
    first = None
    for file in present:
        if file.suffix == ".fasta" and sha256_of(file) != known.sha256:
            raise BenchmarkError(f"{file}: not the published file (wrong checksum); {_CURE}")
        alignment = read_alignment(file)
        found = (*alignment.states.shape, compress(alignment).weights.size)
        if found != (known.taxa, known.sites, known.patterns):
            raise BenchmarkError(
                f"{file}: {found[0]} taxa, {found[1]} sites and {found[2]} patterns where {known.name} has "
                f"{known.taxa}, {known.sites} and {known.patterns}; {_CURE}"
            )
        first = first or alignment
        if alignment.taxa != first.taxa or not np.array_equal(alignment.states, first.states):
            raise BenchmarkError(f"{file}: not the alignment of {present[0]}; {_CURE}")
    return present


def _download(known: Benchmark, offline: bool) -> None:
    """Bring FASTA and NEXUS of a benchmark into the cache."""
    folder = data_files.cache_folder() / known.name
    fasta = folder / f"{known.name}.fasta"
    have_fasta = fasta.is_file() and sha256_of(fasta) == known.sha256
    if is_offline(offline) and not have_fasta:
        raise BenchmarkError(
            f"{known.name} is not here and downloads are off (offline was asked for, by option or {OFFLINE_VARIABLE}); "
            f"set {DATA_VARIABLE} to a folder that holds {known.name}/{known.name}.fasta"
        )
    try:
        download(known.urls, fasta, known.sha256)
    except DownloadError as error:
        raise DownloadError(
            f"{error}; try again, or set {DATA_VARIABLE} to a folder that holds {known.name}/{fasta.name}"
        ) from None
    write_nexus(read_alignment(fasta), fasta.with_suffix(".nex"))


def _published(rows: list[dict[str, Any]]) -> tuple[PublishedValue, ...]:
    return tuple(PublishedValue(row["method"], row["mean"], row.get("sd"), row["source"]) for row in rows)


def _nearest(name: str) -> str:
    """The benchmarks with a name like this one, or all of them."""
    names = benchmark_names()
    near = difflib.get_close_matches(name.upper(), names, n=3, cutoff=0.6)
    return f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(names)}"
