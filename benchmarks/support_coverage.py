"""How much of the golden posteriors the tree samples cover that are made from an alignment alone.

    VBPI_MIX_DATA=... python benchmarks/support_coverage.py [--data DS1,DS2] [--sources mcmc,mrbayes,iqtree]

For every data set and source: seconds, topologies, elements in the support of all of them, and the share of
golden topology mass (average of the replicates in DSn/golden) whose every rootsplit and PCSP is in it.
Kernels are compiled before anything is timed. Prints a Markdown table; each row as soon as it is there.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

from vbpi_mix.data_files import data_folder
from vbpi_mix.phylo.data.alignment import Alignment, read_alignment
from vbpi_mix.phylo.sampling.sources import obtain_tree_sample
from vbpi_mix.phylo.sbn.coverage import coverage
from vbpi_mix.phylo.sbn.splits import average_standard_deviation, split_frequencies, unite
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.sample import read_tree_sample

COLUMNS = (
    "data", "source", "seconds", "CPU seconds", "generations", "ASDSF of runs", "topologies", "elements",
    "golden mass inside", "ASDSF to golden",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="DS1,DS2,DS3,DS4")
    parser.add_argument("--sources", default="mcmc,mrbayes,iqtree")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--asdsf", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    folder = data_folder()
    if folder is None:
        sys.exit("set VBPI_MIX_DATA to the folder that holds DS1 ... DS4 with their golden runs")
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS), flush=True)
    for name in arguments.data.split(","):
        alignment = read_alignment(folder / name / f"{name}.nex")
        obtain_tree_sample(alignment, "mcmc", generations=2000, threads=arguments.threads)
        for source in arguments.sources.split(","):
            print("| " + " | ".join(_row(folder / name, alignment, source, arguments)) + " |", flush=True)


def _row(folder: Path, alignment: Alignment, source: str, arguments: argparse.Namespace) -> list[str]:
    start, cpu = time.perf_counter(), _cpu_seconds()
    sample, facts = obtain_tree_sample(
        alignment,
        source,
        seconds=None if source == "iqtree" else arguments.seconds,
        asdsf=arguments.asdsf,
        seed=arguments.seed,
        threads=arguments.threads,
    )
    seconds, cpu = time.perf_counter() - start, _cpu_seconds() - cpu
    golden = read_tree_sample(sorted(folder.glob("golden/rep_*.trprobs*")), alignment.taxa)
    support = build_support(sample.children)
    ours = split_frequencies(sample.children, sample.weights)
    distance = average_standard_deviation(unite(ours, split_frequencies(golden.children, golden.weights)))
    return [
        folder.name,
        facts["version"],
        f"{seconds:.1f}",
        f"{cpu:.0f}",
        f"{facts['generations']:,}" if "generations" in facts else "",
        f"{facts['asdsf']:.4f}" if "asdsf" in facts else "",
        f"{len(sample.weights):,}",
        f"{support.n_params:,}",
        f"{coverage(support, golden.children, golden.weights):.5f}",
        f"{distance:.4f}",
    ]


def _cpu_seconds() -> float:
    """Of this process and of the programs it has run."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    main()
