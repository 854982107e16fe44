"""torch.compile changes no result beyond rounding.

It needs a C++ compiler, and that takes a minute or two: the whole way is among the slow tests, and says so where there is none.
"""

import os
import shutil
import warnings

import pytest
import torch
from image_models import grey_model, images_for, spread_out

from vbpi_mix.estimators import Estimator, draw_components, log_importance_weights, pathwise_objective
from vbpi_mix.image.mixture import ImageMixture
from vbpi_mix.image.target import ImageTarget


def needs_a_compiler():
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile needs a C++ compiler, and neither $CXX nor g++ nor clang++ is here")


def bound_and_gradient(model):
    generator = torch.Generator().manual_seed(4)
    images = images_for(model, 3)
    draw = draw_components(Estimator.S2A, model.spec.components, 1, generator, (3,))
    target, draws = ImageTarget(model, images), ImageMixture(model, images).sample(draw, 1, generator)
    log_w = log_importance_weights(target.log_likelihood(draws), target.log_prior(draws), draws.log_q)
    objective = pathwise_objective(log_w)
    objective.backward()
    return objective.bound, torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("bfloat16", [False, True])
def test_encoder_and_decoder_are_captured_whole(bfloat16):
    """Each as one graph, run as captured: no compiler is needed for this much."""
    plain, captured = (spread_out(grey_model(A=3, dtype=torch.float32, pixel_layers=2)) for _ in range(2))
    for model in (plain, captured):
        model.accelerate(bfloat16=bfloat16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in (captured.encoder, captured.decoder):
            part.compile(backend="eager", fullgraph=True)
        found = bound_and_gradient(captured)
    for value, wanted in zip(found, bound_and_gradient(plain), strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_compiled_model_gives_the_same_bound_and_gradient():
    needs_a_compiler()
    plain, compiled = (spread_out(grey_model(A=3, dtype=torch.float32, pixel_layers=2)) for _ in range(2))
    bound, gradient = bound_and_gradient(plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler's own making
        compiled.accelerate(compiled=True)
        compiled_bound, compiled_gradient = bound_and_gradient(compiled)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(compiled_bound, bound, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(compiled_gradient, gradient, rtol=1e-3, atol=1e-3)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0  # it did compile
