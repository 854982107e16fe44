"""MNIST at the published sizes on one GPU, all models at once within a few minutes: train, test likelihood, FID, pictures.

    python benchmarks/image_mnist_gpu.py --smoke --limit 80          # images per second of every model, and of bf16 and --compile
    python benchmarks/image_mnist_gpu.py --seconds 240 --limit 420   # the runs
    python benchmarks/image_mnist_gpu.py --device cpu --cells a1 --batch-size 4 --images 4 --samples 4 --seconds 5

Each model is a process of its own, since one alone leaves the GPU idle while its operations are put into the queue. All have
the same seconds of training, a warm-up of a tenth of them, and the cosine schedule; then as many decoder samples of an image,
A L, on the same test images. Cells named -paper follow the published protocol, which gives no valid likelihood. results.csv
is written anew as each one ends. What has not ended at the limit is stopped, and its row holds what its files say.
runs.tar.gz has what they wrote but the checkpoints; models.tar the models, as far as they fit into the size allowed.

It needs MNIST (--data, by default VBPI_MIX_DATA) and runs from a checkout as it is.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from image_mnist_cell import CELLS, LAST_SECONDS, read_json, row_of, run_cell, smoke_cell, train_classifier, write_row

ROOT = Path(__file__).resolve().parents[1]

# Cells that are also tried otherwise, by --smoke: compiled, with and without bfloat16, and with CUDA graphs.
COMPILED = ("a1", "composite")
# Of glibc: the main memory that a batch took is kept for the next. In a virtual machine fresh memory can cost more than a step.
KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "1073741824"}
# The process that trains the network of the Frechet distances, while the models are trained.
CLASSIFIER = "classifier"
COLUMNS = (
    "cell", "model", "encoder", "A", "S", "estimator", "likelihood", "parameters", "precision", "compile", "device", "epochs",
    "iterations", "train_seconds", "ms_per_step", "images_per_second", "validation_miselbo", "L", "images", "published",
    "published_se", "pooled", "pooled_se", "miselbo", "diversity", "fid", "fid_samples", "fid_of_training_images",
    "fid_features", "gpu_gigabytes", "state",
)  # fmt: skip
RUN_COLUMNS = ("cell", "epochs", "ms_per_step", "validation_miselbo", "published", "pooled", "pooled_se", "fid", "state")
SMOKE_COLUMNS = ("cell", "precision", "compile", "graphs", "ms_per_step", "images_per_second", "together", "warm_up_seconds")


def find_packages() -> None:
    """The packages of the checkout by their names, also where they are not installed: here and in processes begun here."""
    links = Path(tempfile.mkdtemp(prefix="vbpi-mix-"))
    (links / "vbpi_mix_data").symlink_to(ROOT / "data")
    for folder in (links, ROOT):
        sys.path.append(str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT), str(links)]))


def start_worker(name: str, cell: str, options: argparse.Namespace, *extra: str, **environment: str) -> subprocess.Popen[bytes]:
    """A process of this script; what it says goes to a file."""
    given = {"device": options.device, "seconds": options.seconds, "until": options.until, "samples": options.samples,
             "images": options.images, "precision": options.precision, "schedule": options.schedule, "steps": options.steps,
             "batch-size": options.batch_size, "seed": options.seed, "out": options.out, "data": options.data,
             "fid-samples": options.fid_samples}  # fmt: skip
    arguments = [part for key, value in given.items() for part in (f"--{key}", str(value))]
    flags = [f"--{flag}" for flag in ("smoke", "compile", "graphs") if getattr(options, flag)]
    command = [sys.executable, "-u", __file__, "--worker", name, "--cells", cell, *arguments, *flags, *extra]
    limits = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "4", **KEPT_MEMORY, **environment}
    if "--graphs" in command:
        limits["TORCHINDUCTOR_CUDAGRAPHS"] = "1"
    with (options.out / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **limits})


def run_all(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All cells at once; rows as they end."""
    classifier = start_worker(CLASSIFIER, options.cells[0], options) if options.fid_samples else None
    left = {cell: start_worker(cell, cell, options) for cell in options.cells}
    rows: dict[str, dict[str, Any]] = {}
    while left:
        time.sleep(0.2)
        for cell, process in list(left.items()):
            if process.poll() is None and time.time() < options.until + LAST_SECONDS:
                continue
            stop(process)
            del left[cell]
            rows[cell] = read_json(options.out / f"{cell}.json") or row_so_far(cell, options)
            write_table(options.out / "results.csv", COLUMNS, rows.values())
            print(f"{time.time() - options.begun:.0f} s: {cell} {process.returncode} {rows[cell].get('state')}", flush=True)
    if classifier is not None:
        stop(classifier)
    return list(rows.values())


def row_so_far(cell: str, options: argparse.Namespace) -> dict[str, Any]:
    """Of a cell that wrote none, whatever stopped it; the others go on."""
    try:
        return row_of(cell, options)
    except Exception as error:
        return {"cell": cell, "state": f"failed: {error}"}


def smoke_all(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All cells, and some of them compiled: each alone, one after the other, and then those that are ready together."""
    left = {cell: start_worker(cell, cell, options) for cell in options.cells}
    for cell in set(COMPILED) & set(options.cells) if options.device == "cuda" else ():
        left[f"{cell}-compiled"] = start_worker(f"{cell}-compiled", cell, options, "--compile")
        left[f"{cell}-graphs"] = start_worker(f"{cell}-graphs", cell, options, "--compile", "--graphs")
    names = list(left)
    together = False
    while any(process.poll() is None for process in left.values()) and time.time() < options.until + LAST_SECONDS:
        time.sleep(0.1)
        ready = [process.poll() is not None or (options.out / f"{name}.ready").exists() for name, process in left.items()]
        if not together and (all(ready) or time.time() > options.until - 15.0):
            together = True
            (options.out / "together").touch()
            print(f"{time.time() - options.begun:.0f} s: {sum(ready)} of {len(ready)} are ready", flush=True)
    for process in left.values():
        stop(process)
    rows = [row for name in names for row in read_json(options.out / f"{name}.json", [])]
    write_table(options.out / "smoke.csv", SMOKE_COLUMNS, rows)
    return rows


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that has not ended."""
    if process.poll() is None:
        process.kill()
    process.wait()


def pack(options: argparse.Namespace) -> None:
    """runs.tar: what the runs wrote but checkpoints, and the logs. models.tar: the models, without what resuming needs."""
    from vbpi_mix.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

    with tarfile.open(options.out / "runs.tar.gz", "w:gz") as archive:
        for path in sorted([*options.out.glob("*.log"), *options.out.glob("*.vbpi/*")]):
            if path.is_file() and path.name != "checkpoint.pt":
                archive.add(path, path.relative_to(options.out))
    size, models = 0, options.out / "models.tar"
    with tarfile.open(models, "w") as archive:
        for path in (options.out / f"{cell}.vbpi" / "checkpoint.pt" for cell in options.cells):
            if not path.exists():
                continue
            held = load_checkpoint(path)
            save_checkpoint(path, Checkpoint(held.kind, held.config, held.provenance, held.problem))
            size += path.stat().st_size
            if size < options.most_bytes:
                archive.add(path, path.relative_to(options.out))


def write_table(path: Path, columns: tuple[str, ...], rows: Iterable[dict[str, Any]]) -> None:
    """All rows, whole or not at all."""
    from vbpi_mix.files import write_text

    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="time some steps and train nothing")
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS))
    parser.add_argument("--seconds", type=float, default=240.0, help="of training, of every cell")
    parser.add_argument("--limit", type=float, default=420.0, help="seconds of everything")
    parser.add_argument("--images", type=int, default=1000, help="test images")
    parser.add_argument("--samples", type=int, default=1000, help="decoder samples A L of each")
    parser.add_argument("--fid-samples", type=int, default=5000, help="images drawn for the Frechet distance; 0 for none")
    parser.add_argument("--schedule", default="cosine", choices=["constant", "cosine"])
    parser.add_argument("--precision", default="float32", choices=["float32", "bf16"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--graphs", action="store_true", help="with --compile: CUDA graphs")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--steps", type=int, default=50, help="steps that --smoke times")
    data = os.environ.get("VBPI_MIX_DATA", ".")
    parser.add_argument("--data", type=Path, default=Path(data), help="folder of MNIST's files, or of their folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("image-mnist-gpu"), help="folder of all files")
    parser.add_argument("--most-bytes", type=int, default=15_000_000, help="of models.tar")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Start a process for every cell, or be one."""
    options = parse_options()
    options.begun = time.time()
    find_packages()
    if options.worker:
        if options.worker == CLASSIFIER:
            train_classifier(options)
        elif options.smoke:
            smoke_cell(options.cells[0], options)
        else:
            write_row(options.worker, run_cell(options.cells[0], options), options)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    for left_over in [options.out / "together", *options.out.glob("*.ready"), *options.out.glob("*.json")]:
        left_over.unlink(missing_ok=True)
    options.until = options.begun + options.limit - LAST_SECONDS
    rows = smoke_all(options) if options.smoke else run_all(options)
    if not options.smoke:
        order = list(options.cells)
        rows.sort(key=lambda row: order.index(row["cell"]))
        write_table(options.out / "results.csv", COLUMNS, rows)
        pack(options)
    shown = SMOKE_COLUMNS if options.smoke else RUN_COLUMNS
    for line in (shown, ["---"] * len(shown), *([row.get(column, "") for column in shown] for row in rows)):
        print(f"| {' | '.join(str(entry) for entry in line)} |")


if __name__ == "__main__":
    main()
