"""Split frequencies against processor seconds, MrBayes's and ours, on one core, from the alignment on.

    export VBPI_MIX_DATA=...
    python benchmarks/against_mrbayes.py mrbayes --folder runs --csv mrbayes.csv
    python benchmarks/against_mrbayes.py fit --csv fit.csv
    python benchmarks/against_mrbayes.py draw --csv mrbayes.csv fit.csv --figure against-mrbayes.png
    python benchmarks/against_mrbayes.py table --csv mrbayes.csv fit.csv

Either is judged by the average standard deviation of split frequencies (ASDSF) to long runs (`common.REFERENCES`). MrBayes
is Debian's `mb` with BEAGLE (SSE, double precision), two runs of four chains that are followed by their own processor
seconds; at 10, 20, 40, 80 and 160 of them the sizes of its tree files are noted, and its answer is the trees up to there, a
quarter cut. A fit is a process of its own for each budget, whose processor seconds are all counted; compiling kernels is
done before and stated (`fresh_fit`). What a table has already is skipped, so that several can be made beside each other.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from common import DATA_SETS, REFERENCES, alignment_file, answers_of, append_row, distance, read_rows, reference_splits
from fresh_fit import TRAINING_SHARE, TREES_SHARE, fit_apart, warm_up

SECONDS = (10, 20, 40, 80, 160)
SEEDS = (1, 2, 3)
BURN_IN = 0.25
SAMPLED_EVERY = 100
MRBAYES, FIT, COMPILATION = "mrbayes", "vbpi-mix", "compilation"
# asdsf: of MrBayes, and of a fit without weighting; asdsf_weighted: of the answer that a fit gives. trees: of MrBayes, after
# burn-in. start_seconds: of cpu_seconds, before the alignment was read.
COLUMNS = (
    "data", "method", "seed", "budget", "cpu_seconds", "wall_seconds", "start_seconds", "trees", "asdsf", "asdsf_weighted",
    "answer", "pareto_k", "effective_sample_size", "verdict",
)  # fmt: skip
SCRIPT = """#NEXUS
begin mrbayes;
set autoclose=yes nowarn=yes seed={seed} swapseed={seed};
set usebeagle=yes beagledevice=cpu beaglesse=yes beagleprecision=double;
execute alignment.nex;
lset nst=1 rates=equal;
prset statefreqpr=fixed(equal) topologypr=uniform brlenspr=unconstrained:exponential(10);
mcmcp nruns=2 nchains=4 ngen=1000000000 samplefreq={every} printfreq=1000 diagnfreq=5000;
mcmcp relburnin=yes burninfrac={burn_in} checkpoint=no filename=out stoprule=no;
mcmc;
quit;
end;
"""


def run_mrbayes(data: str, seed: int, folder: Path) -> None:
    """Run until the last of SECONDS, and write marks.json: processor seconds and sizes of the tree files at each."""
    from vbpi_mix.phylo.data.alignment import read_alignment, write_nexus

    folder.mkdir(parents=True, exist_ok=True)
    alignment = read_alignment(alignment_file(data))
    write_nexus(replace(alignment, taxa=safe_names(len(alignment.taxa))), folder / "alignment.nex")
    # MrBayes's seeds begin at 1.
    (folder / "run.nex").write_text(SCRIPT.format(seed=seed + 1, every=SAMPLED_EVERY, burn_in=BURN_IN))
    marks = []
    with (folder / "screen.log").open("w") as screen:
        process = subprocess.Popen(["mb", "run.nex"], cwd=folder, stdin=subprocess.DEVNULL, stdout=screen, stderr=screen)
        try:
            for seconds in SECONDS:
                while (used := processor_seconds(process.pid)) < seconds:
                    if process.poll() is not None:
                        raise RuntimeError(f"MrBayes has ended by itself; see {folder / 'screen.log'}")
                    time.sleep(0.05)
                marks.append({"cpu": used, "sizes": {file.name: file.stat().st_size for file in folder.glob("out*.t")}})
        finally:
            process.kill()
            process.wait()
    (folder / "marks.json").write_text(json.dumps(marks))


def processor_seconds(process: int) -> float:
    """Of user and system, that a running process has used; Linux."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


def safe_names(count: int) -> tuple[str, ...]:
    """t0, t1 ...: the names that taxa have in MrBayes."""
    return tuple(f"t{k}" for k in range(count))


def analyse(folder: Path, n_taxa: int, reference: object) -> list[dict[str, object]]:
    """The answer of a run of MrBayes at each of its marks: a row of the table, but for data and seed."""
    from vbpi_mix.phylo.sbn.splits import split_frequencies
    from vbpi_mix.phylo.trees.sample import read_tree_sample

    rows: list[dict[str, object]] = []
    for seconds, mark in zip(SECONDS, json.loads((folder / "marks.json").read_text()), strict=True):
        with tempfile.TemporaryDirectory() as place:
            parts = []
            for name, size in sorted(mark["sizes"].items()):
                with (folder / name).open("rb") as file:
                    written = file.read(size)
                parts.append(Path(place) / name)
                # The last tree may be half written.
                parts[-1].write_bytes(written[: written.rindex(b";\n") + 2])
            sample = read_tree_sample(parts, safe_names(n_taxa), burn_in=BURN_IN)
        rows.append({
            "method": MRBAYES, "budget": seconds, "cpu_seconds": round(mark["cpu"], 2),
            "trees": sample.tree_topology.size,
            "asdsf": f"{distance(split_frequencies(sample.children, sample.weights), reference):.6f}",
        })  # fmt: skip
    return rows


def make_mrbayes(options: argparse.Namespace) -> None:
    """Run what has not been run, and analyse what is not in the table."""
    from vbpi_mix.phylo.data.alignment import read_alignment

    done = {(row["data"], row["seed"]) for row in read_rows(options.csv)}
    for data in options.data:
        taxa = read_alignment(alignment_file(data)).taxa
        reference = None
        for seed in options.seeds:
            folder = options.folder / f"{data}_{seed}"
            if (data, str(seed)) in done:
                continue
            if not (folder / "marks.json").exists():
                if options.finished:
                    continue
                run_mrbayes(data, seed, folder)
            if reference is None:
                reference = reference_splits(data, taxa)
            for row in analyse(folder, len(taxa), reference):
                append_row(options.csv, COLUMNS, {"data": data, "seed": seed, **row})


def make_fits(options: argparse.Namespace) -> None:
    """Fit what is not in the table, after everything is compiled."""
    import vbpi_mix

    choices = json.loads(options.choices)
    compiled = warm_up(choices)
    append_row(options.csv, COLUMNS, {"method": COMPILATION, "cpu_seconds": round(compiled, 1)})
    done = {(row["data"], row["seed"], row["budget"]) for row in read_rows(options.csv)}
    for data in options.data:
        reference, without_budget = None, 0.0
        for seed in options.seeds:
            for budget in options.seconds:
                if (data, str(seed), str(budget)) in done:
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    out = Path(folder) / "run.vbpi"
                    cost = fit_apart(
                        alignment_file(data), out, budget=budget, shares=tuple(options.shares),
                        without_budget=without_budget, choices={"seed": seed, **choices},
                    )  # fmt: skip
                    # Known better from fit to fit; the first of a data set may take too long.
                    without_budget = max(without_budget, cost.without_budget)
                    run = vbpi_mix.load(out)
                    if reference is None:
                        reference = reference_splits(data, run.taxa)
                    append_row(options.csv, COLUMNS, {
                        "data": data, "method": FIT, "seed": seed, "budget": budget, "cpu_seconds": round(cost.cpu, 2),
                        "wall_seconds": round(cost.wall, 2), "start_seconds": round(cost.start, 2),
                        **answers_of(run, reference),
                    })  # fmt: skip


def error_of(row: dict[str, str]) -> float:
    """ASDSF of what is given as the answer."""
    return float(row["asdsf_weighted"] or row["asdsf"])


def by_seed(rows: list[dict[str, str]], data: str, method: str) -> dict[str, list[tuple[float, float]]]:
    """Of each seed, (processor seconds, ASDSF) in the order of time."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if (row["data"], row["method"]) == (data, method):
            found.setdefault(row["seed"], []).append((float(row["cpu_seconds"]), error_of(row)))
    return {seed: sorted(line) for seed, line in found.items()}


def median_line(lines: dict[str, list[tuple[float, float]]]) -> tuple[list[float], list[float]]:
    """Medians over seeds of the first points, of the second ones, and so on."""
    points = list(zip(*lines.values(), strict=False))
    return tuple([statistics.median(p[k] for p in point) for point in points] for k in (0, 1))  # type: ignore[return-value]


def draw(options: argparse.Namespace) -> None:
    """A panel for each data set, both axes logarithmic: seeds thin, their median thick."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter

    rows = read_rows(*options.csv)
    figure, axes = plt.subplots(2, 4, figsize=(13, 6.2), sharex=True, sharey=True)
    styles = {MRBAYES: ("0.45", "x", "MrBayes, 2 x 4 chains"), FIT: ("tab:red", "o", "vbpi-mix, from the alignment on")}
    for axis, data in zip(axes.flat, DATA_SETS, strict=True):
        for method, (colour, marker, label) in styles.items():
            lines = by_seed(rows, data, method)
            for line in lines.values():
                axis.plot(*zip(*line, strict=True), color=colour, linewidth=0.8, alpha=0.5)
            if lines:
                axis.plot(*median_line(lines), color=colour, marker=marker, markersize=5, linewidth=2, label=label)
        axis.set(xscale="log", yscale="log", xlim=(8, 220))
        axis.set_title(f"{data}, against {REFERENCE_NAMES[REFERENCES[data]]}", fontsize=10)
        axis.xaxis.set_major_locator(FixedLocator(list(SECONDS)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.tick_params(which="both", labelsize=8)
        axis.grid(which="both", alpha=0.25)
    for axis in axes[1]:
        axis.set_xlabel("processor seconds, one core")
    for axis in axes[:, 0]:
        axis.set_ylabel("ASDSF: lower is better")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=2, frameon=False, bbox_to_anchor=(0.5, 1.0))
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    options.figure.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.figure, dpi=110)


REFERENCE_NAMES = {"golden": "ten golden runs", "mb_1G": "10^9 generations", "mrbayes_short": "ten short runs"}


def table(options: argparse.Namespace) -> None:
    """Markdown: medians over seeds at each budget, ours before MrBayes's, in bold where ours is not lower."""
    rows = read_rows(*options.csv)
    print("| | " + " | ".join(f"{seconds} s" for seconds in SECONDS) + " |")
    print("|---|" + "---|" * len(SECONDS))
    for data in DATA_SETS:
        cells = []
        for seconds in SECONDS:
            here = [row for row in rows if row["data"] == data and row["budget"] == str(seconds)]
            ours, theirs = (
                [(error_of(row), float(row["cpu_seconds"])) for row in here if row["method"] == method]
                for method in (FIT, MRBAYES)
            )
            if not ours or not theirs:
                cells.append("")
                continue
            one, other = (statistics.median(value for value, _ in side) for side in (ours, theirs))
            used = statistics.median(cpu for _, cpu in ours)
            text = f"{one:.4f} ({used:.0f} s), {other:.4f}"
            # What took longer than it should is no comparison at equal seconds.
            cells.append(text if one < other and used <= 1.05 * seconds else f"**{text}**")
        print(f"| {data} | " + " | ".join(cells) + " |")
    for row in rows:
        if row["method"] == COMPILATION:
            print(f"\nCompilation, apart: {row['cpu_seconds']} processor seconds.")


def main() -> None:
    """Make either table, draw, or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    theirs = commands.add_parser("mrbayes")
    theirs.add_argument("--folder", type=Path, required=True, help="where runs are kept: DSn_seed")
    theirs.add_argument("--finished", action="store_true", help="only analyse runs that are there")
    theirs.set_defaults(action=make_mrbayes)
    ours = commands.add_parser("fit")
    ours.add_argument("--seconds", type=int, nargs="+", default=list(SECONDS), help="budgets")
    ours.add_argument(
        "--shares", type=float, nargs=2, default=[TREES_SHARE, TRAINING_SHARE], help="of them for trees and for training"
    )
    ours.add_argument("--choices", default="{}", help="of the fit, in JSON")
    ours.set_defaults(action=make_fits)
    for command in (theirs, ours):
        command.add_argument("--data", nargs="+", default=list(DATA_SETS), choices=DATA_SETS)
        command.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
        command.add_argument("--csv", type=Path, required=True)
    picture = commands.add_parser("draw")
    picture.add_argument("--figure", type=Path, required=True)
    picture.set_defaults(action=draw)
    text = commands.add_parser("table")
    text.set_defaults(action=table)
    for command in (picture, text):
        command.add_argument("--csv", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    options.action(options)


if __name__ == "__main__":
    main()
