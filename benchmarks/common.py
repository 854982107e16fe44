"""What the benchmarks share: medians of repeated timings, the DS1 problem, where the data are, references, tables."""

from __future__ import annotations

import csv
import gzip
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

DATA_SETS = tuple(f"DS{k}" for k in range(1, 9))
# What split frequencies are judged by: ten golden runs, the run of 10^9 generations, ten short runs.
REFERENCES = {
    **dict.fromkeys(("DS1", "DS2", "DS3", "DS4"), "golden"),
    **dict.fromkeys(("DS5", "DS6", "DS7"), "mb_1G"),
    "DS8": "mrbayes_short",
}


def median_seconds(function: Callable[[], Any], repeats: int = 200, warm_up: int = 20) -> float:
    """Median wall time of a call; interference from other work only ever adds, and the median forgets half of it."""
    for _ in range(warm_up):
        function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def medians_in_turn(functions: Sequence[Callable[[], Any]], clock: Callable[[], float], rounds: int) -> list[float]:
    """Median time of a call of each function, by a clock. They are timed in turn, a few calls at a time, so that what else
    the machine does slows all alike and their ratios hold; the first two calls of a turn fill caches and do not count.
    """
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(rounds + 1):
        for function, own in zip(functions, times, strict=True):
            for call in range(6):
                start = clock()
                function()
                if turn and call > 1:
                    own.append(clock() - start)
    return [statistics.median(own) for own in times]


def vbpi_mix(*arguments: str, folder: Path | None = None) -> str:
    """Run the command that is installed beside this python; its standard output. RuntimeError, with its last line, if it
    fails."""
    program = Path(sys.executable).with_name("vbpi-mix")
    run = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"vbpi-mix {' '.join(arguments)}: {run.stderr.strip().splitlines()[-1]}")
    return run.stdout


def data_folder() -> Path:
    """VBPI_MIX_DATA, or exit with a line that says what is missing."""
    folder = os.environ.get("VBPI_MIX_DATA")
    if not folder or not (Path(folder) / "DS1").is_dir():
        sys.exit("set VBPI_MIX_DATA to the folder that holds DS1 ... DS8")
    return Path(folder)


def patterns_of(name: str) -> Any:
    """Site patterns of a benchmark alignment, and its taxa."""
    from vbpi_mix.phylo.data.alignment import read_alignment
    from vbpi_mix.phylo.data.site_patterns import compress

    alignment = read_alignment(data_folder() / name / f"{name}.fasta")
    return compress(alignment), alignment.taxa


def support_of(name: str, files: int = 2) -> Any:
    """Support and EM-fitted logits from the UFBoot files rep_1, rep_2 ... of a benchmark."""
    from vbpi_mix.phylo.sbn import networks as sbn
    from vbpi_mix.phylo.sbn.support import build_support
    from vbpi_mix.phylo.trees.sample import read_tree_sample

    _, taxa = patterns_of(name)
    paths = [data_folder() / name / "ufboot" / f"rep_{k}.ufboot.gz" for k in range(1, files + 1)]
    sample = read_tree_sample(paths, taxa)
    support = build_support(sample.children)
    return support, sbn.fit_em(support, support.encode(sample.children), sample.weights)


def alignment_file(name: str) -> Path:
    """The alignment of a benchmark data set."""
    return data_folder() / name / f"{name}.fasta"


def reference_splits(name: str, taxa: Sequence[str]) -> Any:
    """The SplitFrequencies that a data set's answers are judged by; `taxa` in the order of the alignment."""
    from vbpi_mix.phylo.sbn.splits import split_frequencies
    from vbpi_mix.phylo.trees.sample import read_tree_sample

    folder = data_folder() / name / REFERENCES[name]
    if REFERENCES[name] == "mb_1G":
        return read_splits(folder / f"{name}.splits.tsv.gz", len(taxa))
    sample = read_tree_sample(sorted(folder.glob("*.trprobs.gz")), taxa)
    return split_frequencies(sample.children, sample.weights)


def read_splits(path: Path, n_taxa: int) -> Any:
    """SplitFrequencies of a table of split, count, frequency: character k of a split is taxon k, the first of which is 0."""
    from vbpi_mix.phylo.sbn.splits import SplitFrequencies

    with gzip.open(path, "rt") as file:
        rows = [(row["split"], int(row["count"])) for row in csv.DictReader(file, delimiter="\t")]
    sides = np.array([[character == "1" for character in split] for split, _ in rows])
    if sides.shape[1] != n_taxa or sides[:, 0].any():
        raise ValueError(f"{path}: splits of {n_taxa} taxa are wanted, named by the side without the first")
    counts = np.array([count for _, count in rows], float)
    # Every tree has n - 3 of them.
    frequencies = counts * (n_taxa - 3) / counts.sum()
    return SplitFrequencies(n_taxa, bits_of(sides), frequencies)


def bits_of(sides: np.ndarray) -> np.ndarray:
    """Sides of splits bool [M, n] as bits uint64 [M, W]: of each, the one without taxon 0."""
    sides = sides ^ sides[:, :1]
    words = -(-sides.shape[1] // 64)
    bits = np.zeros((sides.shape[0], words), np.uint64)
    for taxon in range(sides.shape[1]):
        bits[:, taxon >> 6] |= sides[:, taxon].astype(np.uint64) << np.uint64(taxon & 63)
    return bits


def splits_of(found: Sequence[Any], taxa: Sequence[str]) -> Any:
    """SplitFrequencies of what `Run.split_frequencies` gives."""
    from vbpi_mix.phylo.sbn.splits import SplitFrequencies

    number = {name: k for k, name in enumerate(taxa)}
    sides = np.zeros((len(found), len(taxa)), bool)
    for side, split in zip(sides, found, strict=True):
        side[[number[name] for name in split.members]] = True
    return SplitFrequencies(len(taxa), bits_of(sides), np.array([split.frequency for split in found]))


def distance(one: Any, other: Any) -> float:
    """ASDSF of two SplitFrequencies."""
    from vbpi_mix.phylo.sbn.splits import average_standard_deviation, unite

    return average_standard_deviation(unite(one, other))


def answers_of(run: Any, reference: Any) -> dict[str, object]:
    """ASDSF of the answer that a run gives and of the fit itself, and what the weighted draws are worth: columns of a table.

    asdsf_weighted: of the answer, which is the fit's own where its verdict is against weighting; `answer` says which.
    """
    summary = run.summary
    given, own = (splits_of(run.split_frequencies(weighted=weighted), run.taxa) for weighted in (True, False))
    return {
        "asdsf_weighted": f"{distance(given, reference):.6f}",
        "asdsf": f"{distance(own, reference):.6f}",
        "answer": summary["answer"],
        "pareto_k": rounded(summary["pareto_k"], 3),
        "effective_sample_size": rounded(summary["effective_sample_size"], 0),
        "verdict": summary["verdict"],
    }


def rounded(value: float | None, digits: int) -> float | str:
    """Empty where there is none."""
    return "" if value is None else round(value, digits)


def read_rows(*tables: Path) -> list[dict[str, str]]:
    """The rows of all of these tables that exist."""
    return [row for table in tables if table.exists() for row in csv.DictReader(table.read_text().splitlines())]


def append_row(table: Path, columns: Sequence[str], row: Mapping[str, object]) -> None:
    """Write a row at the end of a table, which is made if there is none, and show it."""
    new = not table.exists()
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow({name: row.get(name, "") for name in columns})
    print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
