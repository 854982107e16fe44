"""What the benchmarks share: medians of repeated timings, the DS1 problem, where the data are."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


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
