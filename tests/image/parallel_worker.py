"""One rank of a data-parallel run: python parallel_worker.py RANK RANKS FOLDER.

Writes the gradient of the first iteration and the state after a short training to FOLDER/rank-RANK.pt, for components
drawn for each image and for the batch; and the results of an evaluation.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from image_models import grey_model, images_for, spread_out

from vbpi_mix.estimators import Estimator
from vbpi_mix.image.batches import ImageBatches
from vbpi_mix.image.evaluation import EvaluationPlan, evaluate_images
from vbpi_mix.training.batch_problem import BatchProblem
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.run_directory import RunDirectory
from vbpi_mix.training.trainer import Trainer

BATCH, ITERATIONS = 6, 5


def gradient_and_training(folder, phi_per):
    """What every rank ends up with: gradient, bound, final parameters, last validation."""
    torch.set_num_threads(1)
    model = spread_out(grey_model(A=4))
    levels = torch.rand((20, 1, 8, 8), generator=torch.Generator().manual_seed(5))
    batches = ImageBatches(model, levels, images_for(model, 7), batch_size=BATCH)
    problem = BatchProblem("image", batches, estimator=Estimator.S2A, sampled=2, phi_per=phi_per)
    objective = problem.objective(1, 0.5, torch.Generator().manual_seed(3))
    objective.backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    problem.component_counts.zero_()
    run = RunDirectory.open(folder / f"{phi_per}.vbpi")
    config = TrainingConfig(iterations=ITERATIONS, learning_rate=0.01, validate_every=2, seconds=600.0, trace_every=1)
    trainer = Trainer(problem, config, run)
    result = trainer.run()
    return {
        "bound": objective.bound,
        "gradient": gradient,
        "parameters": torch.cat([parameter.detach().flatten() for parameter in model.parameters()]),
        "counts": problem.component_counts,
        "best": torch.tensor(result.best_metric),
    }


def evaluation(path, norm):
    """Results of seven images in blocks of two, kept in `path`; under batch norm those of a block depend on one another."""
    torch.set_num_threads(1)
    model = grey_model(A=3, norm=norm, paper_compat=norm == "batch")
    plan = EvaluationPlan(importance_samples=3, images=7, available=9, seed=1, model="m", images_at_once=2)
    results = evaluate_images(model, images_for(model, 9), plan, path)
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in results.values.items()}


def main():
    rank, n_ranks, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=n_ranks)
    found = {phi_per: gradient_and_training(folder, phi_per) for phi_per in ("point", "batch")}
    for norm in ("layer", "batch"):
        found[f"evaluation, norm {norm}"] = evaluation(folder / f"nll-{norm}.json", norm)
    torch.save(found, folder / f"rank-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
