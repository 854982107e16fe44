"""Time of one training step on images of 28 x 28 as the number of components A grows: S2A with S = 1, batches of 100.

    python benchmarks/image_step.py [--components 1 10 50 200 800] [--device cuda] [--bfloat16] [--compile] [--csv FILE]

The model is the published one; the images are random, since no time depends on what they show. The baseline, in the same
run and with the same parameters and results, computes the Gaussians as the published code does: one component after the
other, its one-hot code appended to the input of each layer.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vbpi_mix.estimators import Estimator
from vbpi_mix.image.batches import ImageBatches
from vbpi_mix.image.model import ImageModel, build_model
from vbpi_mix.image.networks import LOG_VARIANCE_RANGE, AmortisedNet, Gaussians, SharedEncoder
from vbpi_mix.image.spec import preset
from vbpi_mix.training.adam import make_adam
from vbpi_mix.training.batch_problem import BatchProblem

COLUMNS = ("A", "S", "estimator", "encoder", "milliseconds", "ratio")


class OneAfterTheOther(torch.nn.Module):
    """The encoder of a model, its components in a loop over one-hot codes."""

    def __init__(self, encoder: SharedEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor, rows: Tensor | None) -> Gaussians:
        """All components; `rows` is None, as S2A asks."""
        h = self.encoder.features(images).flatten(1)
        A = len(self.encoder.mean.layers[0].code)
        nets = (self.encoder.mean, self.encoder.log_variance)
        mean, log_variance = (torch.stack([one_component(net, h, a) for a in range(A)]) for net in nets)
        return Gaussians(mean, F.hardtanh(log_variance, *LOG_VARIANCE_RANGE))


def one_component(net: AmortisedNet, h: Tensor, component: int) -> Tensor:
    """[B, d], by whole weight matrices."""
    A = len(net.layers[0].code)
    code = F.one_hot(torch.tensor(component, device=h.device), A).to(h.dtype).expand(len(h), A)
    x = u = torch.cat([h, code], 1)
    for layer in net.layers:
        hidden = [] if layer.weight_hidden is None else [layer.weight_hidden]
        y = F.linear(x, torch.cat([layer.weight, layer.code.T, *hidden], 1), layer.bias)
        x = torch.cat([u, torch.relu(y)], 1)
    return y


def step_of(model: ImageModel, estimator: Estimator, S: int, batch_size: int) -> Callable[[], None]:
    """One iteration of the trainer: batch, objective, gradient, Adam."""
    images = torch.rand(5 * batch_size, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    batches = ImageBatches(model, images, images[:1].round(), batch_size=batch_size)
    problem = BatchProblem("image", batches, estimator=estimator, sampled=S)
    optimiser = make_adam(problem.parameter_groups())
    optimiser.set_learning_rate(1e-4)
    generator = torch.Generator().manual_seed(1)
    iteration = 0

    def step() -> None:
        nonlocal iteration
        iteration += 1
        objective = problem.objective(iteration, 1.0, generator)
        objective.bound.item()
        optimiser.zero_grad()
        objective.backward()
        optimiser.step()
        if model.device.type == "cuda":
            torch.cuda.synchronize()

    return step


def rounds_of_medians(steps: list[Callable[[], None]], repeats: int, warm_up: int) -> list[float]:
    """Median milliseconds of each step. They take turns, so that other work on the machine troubles all alike."""
    times: list[list[float]] = [[] for _ in steps]
    for turn in range(warm_up + repeats):
        for step, found in zip(steps, times, strict=True):
            start = time.perf_counter()
            step()
            if turn >= warm_up:
                found.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(found) for found in times]


def cases_of(arguments: argparse.Namespace) -> list[tuple[int, int, Estimator, bool]]:
    """(A, S, estimator, one component after the other?); the first is what ratios refer to."""
    cases = [(A, 1, Estimator.S2A, False) for A in dict.fromkeys([1, *arguments.components])]
    if arguments.baseline:
        cases.append((arguments.baseline, 1, Estimator.S2A, True))
    return [*cases, (50, 2, Estimator.S2A, False), (50, 2, Estimator.S2S, False)]


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--components", type=int, nargs="+", default=[1, 10, 50, 200, 800], metavar="A")
    parser.add_argument("--baseline", type=int, default=200, metavar="A", help="A of the baseline; 0 for none")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("--device cuda: torch finds no CUDA device")
    cases, steps = cases_of(arguments), []
    for A, S, estimator, in_turn in cases:
        model = build_model(preset("mnist", A), torch.Generator().manual_seed(1)).to(arguments.device)
        if in_turn:
            model.encoder = OneAfterTheOther(model.encoder)  # type: ignore[assignment, arg-type]
        model.accelerate(compiled=arguments.compile and not in_turn, bfloat16=arguments.bfloat16)
        steps.append(step_of(model, estimator, S, arguments.batch_size))
    medians = rounds_of_medians(steps, arguments.repeats, arguments.warm_up)
    options = " ".join(name for name in ("bfloat16", "compile") if getattr(arguments, name))
    print(
        f"28 x 28, batches of {arguments.batch_size}, {arguments.device} {options}, {torch.get_num_threads()} threads"
    )
    print("    A   S estimator encoder            ms/step  ratio to A = 1")
    rows = []
    for (A, S, estimator, in_turn), median in zip(cases, medians, strict=True):
        encoder = "one by one" if in_turn else "all at once"
        rows.append((A, S, str(estimator), encoder, round(median, 3), round(median / medians[0], 3)))
        print(f"{A:5d} {S:3d} {estimator:9s} {encoder:15s} {median:10.2f} {median / medians[0]:9.2f}")
    if arguments.csv is not None:
        with arguments.csv.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main()
