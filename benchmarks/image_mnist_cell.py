"""What one process of image_mnist_gpu.py does: train a model on MNIST, evaluate it and draw from it; or time its steps."""

from __future__ import annotations

import argparse
import csv
import fcntl
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_OF_FOUR: dict[str, Any] = {"A": 4, "S": 2, "encoder": "separate"}
CELLS: dict[str, dict[str, Any]] = {
    "a1": {"A": 1, "S": 1},
    "a1-paper": {"A": 1, "S": 1, "paper_compat": True},
    "a20": {"A": 20, "S": 1},
    "a20-paper": {"A": 20, "S": 1, "paper_compat": True},
    "vanilla": _OF_FOUR,
    **{family: {**_OF_FOUR, "model": family} for family in ("hierarchical", "iaf", "vamp", "composite")},
}

# Seconds that a process has at the end to write what it has.
LAST_SECONDS = 8.0


class OutOfTime(Exception):
    """The limit has come."""


def config_of(cell: str, options: argparse.Namespace, **changes: Any) -> Any:
    """The FitConfig of a cell."""
    from vbpi_mix.image.config import FitConfig

    how = {"precision": options.precision, "compile": options.compile, "seconds": options.seconds, **changes}
    return FitConfig(
        "mnist", **CELLS[cell], **how, device=options.device, schedule=options.schedule, batch_size=options.batch_size,
        seed=options.seed, threads=1,
    )  # fmt: skip


def run_cell(cell: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train, evaluate and draw a cell; returns its row."""
    import torch

    from vbpi_mix.image.fit import fit

    place, config = options.out / f"{cell}.vbpi", config_of(cell, options)
    print(f"{cell}: {config}", flush=True)
    torch.backends.cudnn.benchmark = True  # all batches have one shape
    run = fit(config, place, force=True, folder=options.data, progress=every_few_seconds(), notice=print)
    torch.backends.cudnn.benchmark = False
    row = row_of(cell, options)
    write_row(cell, row, options)
    row |= evaluate(run, options)
    write_row(cell, row, options)
    if options.fid_samples:
        row |= distance_of(run, options)
        write_row(cell, row, options)
    try:
        panels = run.sample(64, 12, 10, device=options.device, progress=time_check(options))
        run.write_pictures(panels, run.latent_plane(folder=options.data))
    except OutOfTime:
        pass
    if options.device == "cuda":
        row["gpu_gigabytes"] = f"{torch.cuda.max_memory_allocated() / 2**30:.2f}"
    row["state"] = "done"
    return row


def every_few_seconds(seconds: float = 10.0) -> Callable[[Any], None]:
    """A progress callback of plain lines."""
    last = 0.0

    def show(report: Any) -> None:
        nonlocal last
        if report.finished or time.time() - last > seconds:
            last = time.time()
            metrics = " ".join(f"{name} {value:.3f}" for name, value in report.metrics.items())
            print(f"{report.seconds:.1f} s, iteration {report.iteration}, bound {report.bound:.3f}, {metrics}", flush=True)

    return show


def row_of(cell: str, options: argparse.Namespace) -> dict[str, Any]:
    """What the files of a cell say of its training, which may not have ended."""
    config, place = config_of(cell, options), options.out / f"{cell}.vbpi"
    estimation, spec = config.estimation(), config.spec()
    row: dict[str, Any] = {
        "cell": cell, "model": config.model, "encoder": config.encoder, "A": estimation.A, "S": estimation.S,
        "estimator": estimation.estimator, "likelihood": spec.likelihood_label, "precision": config.precision,
        "compile": f"{config.compile}{' with graphs' if options.graphs else ''}", "device": device_name(options.device),
        "state": "not trained to the end",
    }  # fmt: skip
    summary = read_json(place / "summary.json")
    row["parameters"] = summary.get("parameters", {}).get("total", "")
    trace = list(csv.DictReader((place / "trace.csv").read_text().splitlines())) if place.exists() else []
    if trace:
        row |= {"iterations": trace[-1]["iteration"], "train_seconds": trace[-1]["seconds"]}
        row["validation_miselbo"] = next((line["miselbo"] for line in reversed(trace) if line["miselbo"]), "")
    if "seconds" in summary:
        step, best = summary["seconds_per_iteration"], summary["best_validation_miselbo"]
        row |= {
            "iterations": summary["iterations"], "epochs": f"{summary['epochs']:.2f}",
            "train_seconds": f"{summary['seconds']:.1f}", "ms_per_step": "" if step is None else f"{1e3 * step:.3f}",
            "images_per_second": round(summary["iterations"] * options.batch_size / summary["seconds"]),
            "validation_miselbo": "" if best is None else f"{best:.4f}", "state": "trained",
        }  # fmt: skip
    return row


def evaluate(run: Any, options: argparse.Namespace) -> dict[str, Any]:
    """The test likelihood, on as many of the images as there is time for."""
    from vbpi_mix.image.evaluation import ImageResults

    images = run.images()
    plan = run.plan(images, importance_samples=max(1, options.samples // run.model.spec.components), count=options.images)

    try:
        results = run.evaluate(plan, images, device=options.device, progress=time_check(options))
    except OutOfTime:
        results = ImageResults.load(run.kept(plan), plan, run.model.spec.likelihood_label)
    row: dict[str, Any] = {"L": plan.importance_samples, "images": results.done, "state": "evaluated"}
    if results.done >= 2:
        for form in ("published", "pooled"):
            row |= {form: f"{-results.mean(form):.4f}", f"{form}_se": f"{results.standard_error(form):.4f}"}
        row |= {"miselbo": f"{results.mean('elbo'):.4f}", "diversity": f"{results.mean('diversity'):.4f}"}
    return row


def distance_of(run: Any, options: argparse.Namespace) -> dict[str, Any]:
    """The Frechet distance of samples from the test images, if there is time for it."""
    from vbpi_mix.errors import VbpiMixError

    try:
        network = run.classifier(options.data, options.out / "classifier", time_check(options))
        found = run.fid(
            network, samples=options.fid_samples, device=options.device, folder=options.data, progress=time_check(options)
        )
    except (OutOfTime, VbpiMixError) as error:
        print(f"no Frechet distance: {error!r}", flush=True)
        return {}
    return {
        "fid": f"{found.distance:.4f}", "fid_samples": found.samples, "fid_of_training_images": f"{found.of_training_images:.4f}",
        "fid_features": f"{network.name} {network.digest}",
    }  # fmt: skip


def train_classifier(options: argparse.Namespace) -> None:
    """The network of all distances, once for all cells."""
    from vbpi_mix.image.datasets import load_images, load_labels
    from vbpi_mix.image.feature_networks import classifier_of

    data = load_images("mnist", options.data)
    print(classifier_of(data, lambda: load_labels(data, options.data), options.out / "classifier").facts(), flush=True)


def time_check(options: argparse.Namespace) -> Callable[[int, int], None]:
    """A progress callback that raises OutOfTime."""

    def check(done: int, total: int) -> None:
        if done < total and time.time() > options.until:
            raise OutOfTime

    return check


def smoke_cell(cell: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Steps of a cell, alone and then while all others make theirs: a row for each precision."""
    import torch

    from vbpi_mix.image.datasets import load_images
    from vbpi_mix.image.fit import make_model, make_problem

    torch.backends.cudnn.benchmark = True
    data, rows, steps = load_images("mnist", options.data), [], []
    for precision in ("float32", "bf16"):
        config = config_of(cell, options, precision=precision)
        start = time.time()
        model = make_model(config.spec(), config.seed, config.execution(), data)
        problem = make_problem(model, data, config.estimation(), config.seed)
        steps.append(step_timer(problem, config, options))
        steps[-1](options.steps)
        row = {"cell": cell, "precision": precision, "compile": options.compile, "graphs": options.graphs}
        rows.append({**row, "warm_up_seconds": f"{time.time() - start:.1f}"})
        with (options.out / "alone.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            seconds = min(steps[-1](options.steps) for _ in range(3))  # others may still be warming up
        rows[-1] |= {"ms_per_step": f"{1e3 * seconds:.3f}", "images_per_second": round(options.batch_size / seconds)}
        write_row(options.worker, rows, options)
    (options.out / f"{options.worker}.ready").touch()
    while not (options.out / "together").exists():
        time.sleep(0.05)
    for row, step in zip(rows, steps, strict=True):
        row["together"] = round(options.batch_size / step(options.steps, 4.0))
        torch.cuda.empty_cache()
        write_row(options.worker, rows, options)
    return rows


def step_timer(problem: Any, config: Any, options: argparse.Namespace) -> Callable[..., float]:
    """A function that makes some steps of the trainer, or as many as fit into some seconds: seconds of one."""
    import dataclasses

    import torch

    from vbpi_mix.training.trainer import Trainer

    training = config.training(problem.iterations_per_epoch)

    def make_steps(count: int, seconds: float | None = None) -> float:
        budget = dataclasses.replace(
            training, iterations=None if seconds else count, seconds=seconds, validate_every=None, patience=None, keep_best=False
        )
        if options.device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        made = Trainer(problem, budget).run().iterations
        if options.device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / made

    return make_steps


def device_name(device: str) -> str:
    """What the numbers are of."""
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else "CPU"


def read_json(path: Path, otherwise: Any = None) -> Any:
    """What a file holds, or something else if it is not there."""
    return json.loads(path.read_text()) if path.exists() else ({} if otherwise is None else otherwise)


def write_row(name: str, row: Any, options: argparse.Namespace) -> None:
    """For the first process, whole or not at all."""
    from vbpi_mix.files import write_text

    write_text(options.out / f"{name}.json", json.dumps(row))
