"""On a CUDA device everything is what it is on the CPU, up to rounding, and a bad bound still changes nothing."""

import pytest
import torch
from image_models import grey_model

from vbpi_mix.devices import fetch, send
from vbpi_mix.estimators import Estimator
from vbpi_mix.image.batches import ImageBatches
from vbpi_mix.training.batch_problem import BatchProblem
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.reports import NonFiniteError
from vbpi_mix.training.trainer import Trainer

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
MODELS = {
    "vanilla": {},
    "separate": {"encoder": "separate"},
    "batch statistics": {"norm": "batch", "paper_compat": True},
    "composite": {"levels": 2, "flow": "iaf", "prior": "vamp", "encoder": "separate"},
}


def problem_on(device, estimator=Estimator.S2A, kind=BatchProblem, **changes):
    model = grey_model(A=3, **changes).to(device)
    images = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    batches = ImageBatches(model, images, images[:8].round(), batch_size=10)
    return kind("image", batches, estimator=estimator, sampled=2)


def values_of(problem):
    return torch.cat([p.detach().flatten().cpu() for group in problem.parameter_groups() for p in group["params"]])


@needs_cuda
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("estimator", [Estimator.S2A, Estimator.S2S])
def test_training_on_a_device_is_that_on_the_cpu(name, estimator):
    found = []
    for device in ("cpu", "cuda"):
        problem = problem_on(device, estimator, **MODELS[name])
        result = Trainer(problem, TrainingConfig(iterations=6, validate_every=4, learning_rate=1e-3)).run()
        found.append((values_of(problem), result.bound, result.best_metric))
    (here, bound, best), (there, bound_there, best_there) = found
    torch.testing.assert_close(there, here, rtol=1e-6, atol=1e-8)
    assert bound_there == pytest.approx(bound, rel=1e-8)
    assert best_there == pytest.approx(best, rel=1e-8)


@pytest.mark.parametrize("device", DEVICES)
def test_a_bound_that_is_not_finite_moves_no_parameter(device):
    class Breaks(BatchProblem):
        def _weighed(self, batch, draws, beta):
            found = super()._weighed(batch, draws, beta)
            found.log_w.mul_(float("nan") if self.broken else 1.0)
            return found

    problem = problem_on(device, kind=Breaks)
    problem.broken = False
    Trainer(problem, TrainingConfig(iterations=2)).run()
    before = values_of(problem)
    problem.broken = True
    with pytest.raises(NonFiniteError, match="bound became nan at iteration 1"):
        Trainer(problem, TrainingConfig(iterations=2)).run()
    assert torch.equal(values_of(problem), before)


@pytest.mark.parametrize("device", DEVICES)
def test_values_go_to_a_device_and_a_number_comes_back(device):
    values = torch.arange(6, dtype=torch.int64).view(2, 3)[:, 1:]
    sent = send(values, torch.device(device), torch.float64)
    assert sent.dtype == torch.float64
    assert sent.device.type == device
    assert sent.tolist() == [[1.0, 2.0], [4.0, 5.0]]
    assert fetch(sent.sum())() == 12.0
    assert send(values, torch.device(device)).dtype == torch.int64
