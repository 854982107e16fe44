"""Image models under the trainer: batches, gradients, validation, resuming, and what does not fit."""

import math

import pytest
import torch
from image_models import colour_model, grey_model, images_for, spread_out

from vbpi_mix.errors import CheckpointError, ConfigError
from vbpi_mix.estimators import Estimator
from vbpi_mix.image.batches import ImageBatches
from vbpi_mix.image.spec import FAMILIES
from vbpi_mix.training.batch_problem import BatchProblem
from vbpi_mix.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.problem import Validates
from vbpi_mix.training.run_directory import RunDirectory
from vbpi_mix.training.trainer import Trainer

N = 14


def grey_levels(model, n=N, seed=5):
    return torch.rand((n, *model.spec.shape.sizes), generator=torch.Generator().manual_seed(seed))


def problem_of(model, estimator=Estimator.S2A, S=1, batch_size=4, seed=1, **options):
    binary = model.spec.likelihood == "bernoulli"
    training = grey_levels(model) if binary else images_for(model, N).float()
    batches = ImageBatches(model, training, images_for(model, 6).float(), batch_size=batch_size, seed=seed)
    return BatchProblem("image", batches, estimator=estimator, sampled=S, **options)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda: grey_model(A=6), id="shared"),
        pytest.param(lambda: grey_model(A=6, residual=False, norm="none"), id="linear"),
        pytest.param(lambda: grey_model(A=3, encoder="separate"), id="separate"),
        pytest.param(lambda: grey_model(A=3, norm="batch", paper_compat=True), id="paper"),
        pytest.param(lambda: colour_model(A=3), id="colour"),
        pytest.param(lambda: colour_model(A=3, norm="batch"), id="colour-batch"),
        pytest.param(lambda: grey_model(A=3, prior="learned"), id="learned"),
        pytest.param(lambda: grey_model(A=3, **FAMILIES["composite"]), id="composite"),
        pytest.param(lambda: grey_model(A=3, encoder="separate", **FAMILIES["composite"]), id="composite-separate"),
    ],
)
def test_gradients_reach_every_parameter(model, generator):
    model = model()
    problem = problem_of(model)
    names = [name for name, _ in model.named_parameters()]
    groups = problem.parameter_groups()
    assert sum(len(group["params"]) for group in groups) == len(names)
    problem.objective(1, 1.0, generator).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    touched = {name for name, parameter in model.named_parameters() if bool((parameter.grad != 0).any())}
    assert touched == set(names)
    for net in ("mean", "log_variance"):  # S2A: all components, through the denominator
        layer = getattr(model.encoder, net)
        rows = layer.weight.grad if model.spec.encoder == "separate" else layer.layers[-1].code.grad
        assert bool((rows.flatten(1) != 0).any(1).all())


def test_each_epoch_is_another_permutation_that_the_seed_and_the_iteration_decide():
    model = grey_model()
    levels = (torch.arange(N) / (2.0 * N)).view(N, 1, 1, 1).expand(N, 1, 8, 8)

    def rows(seed, iterations):
        batches = ImageBatches(model, levels, images_for(model, 2), batch_size=4, seed=seed)
        return {t: batches._order.rows(t).tolist() for t in iterations}

    forward, backward = rows(1, range(1, 10)), rows(1, range(9, 0, -1))
    assert forward == backward
    epochs = [[row for t in range(first, first + 3) for row in forward[t]] for first in (1, 4, 7)]
    assert all(len(set(epoch)) == 12 for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert rows(2, [1]) != rows(1, [1])


def test_grey_levels_become_new_pixels_in_each_iteration(generator):
    model = grey_model()
    levels = torch.full((4, 1, 8, 8), 0.25)
    batches = ImageBatches(model, levels, images_for(model, 2), batch_size=4)
    drawn = torch.stack([batches.training(1, generator).target.images for _ in range(100)])
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert float(drawn.mean()) == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / drawn.numel()))
    assert not torch.equal(drawn[0], drawn[1])
    bytes_too = ImageBatches(model, (levels * 255).to(torch.uint8), images_for(model, 2), batch_size=4)
    assert float(bytes_too.training(1, generator).target.images.mean()) == pytest.approx(0.25, abs=0.15)


def test_colour_images_stay_as_they_are(generator):
    model = colour_model()
    images = images_for(model, 4).float()
    for given in (images, (images * 255).round().to(torch.uint8)):
        batches = ImageBatches(model, given, given, batch_size=4)
        found = batches.training(1, generator).target.images
        torch.testing.assert_close(found, images[batches._order.rows(1)].double())


def test_components_are_drawn_for_each_image_or_for_the_batch(generator):
    per_point = problem_of(grey_model(A=5), S=2, batch_size=12)
    per_batch = problem_of(grey_model(A=5), S=2, batch_size=12, phi_per="batch")
    for problem in (per_point, per_batch):
        problem.objective(1, 1.0, generator)
        assert int(problem.component_counts.sum()) == 2 * 12
    assert sorted(per_batch.component_counts.tolist()) == [0, 0, 0, 12, 12]
    assert int((per_point.component_counts > 0).sum()) > 2


def test_warm_up_leaves_the_reconstruction_at_first():
    problem = problem_of(grey_model(A=3))
    found = {}
    for beta in (0.0, 0.5, 1.0):
        found[beta] = problem.objective(1, beta, torch.Generator().manual_seed(3)).bound.item()
    assert found[0.5] == pytest.approx((found[0.0] + found[1.0]) / 2)
    batch = problem.batches.training(1, generator := torch.Generator().manual_seed(3))
    draw = problem._draw(Estimator.S2A, 4, generator)
    log_likelihood = batch.target.log_likelihood(batch.mixture.sample(draw, 1, generator))
    assert found[0.0] == pytest.approx(float(log_likelihood.detach().mean()))


def test_validation_is_the_whole_mixture_at_beta_one():
    """With S = A and many samples it meets the A2A bound from other draws; its parts add up."""
    model = spread_out(grey_model(A=3))
    problem = problem_of(model, S=3, batch_size=4)
    assert isinstance(problem, Validates)
    values = [problem.validate(1, torch.Generator().manual_seed(seed)) for seed in range(40)]
    for value in values:
        assert tuple(value) == problem.metric_names == ("miselbo", "reconstruction", "kl", "clamped")
        assert value["miselbo"] == pytest.approx(value["reconstruction"] - value["kl"])
        assert 0.0 <= value["clamped"] <= 1.0
    some = [problem_of(model, S=1).validate(1, torch.Generator().manual_seed(seed)) for seed in range(120)]
    mean, other = (sum(v["miselbo"] for v in found) / len(found) for found in (values, some))
    spread = torch.tensor([v["miselbo"] for v in some]).std() / math.sqrt(len(some))
    assert other == pytest.approx(mean, abs=4 * float(spread) + 0.02)
    assert problem.validate(1, torch.Generator().manual_seed(1)) == values[1]
    assert int(problem.component_counts.sum()) == 0
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_clamped_log_variances_are_counted(generator):
    model = grey_model(A=2)
    with torch.no_grad():
        model.encoder.log_variance.layers[-1].bias[:3] = 100.0
    assert problem_of(model).validate(1, generator)["clamped"] == pytest.approx(0.75)


def train(folder, iterations, resume=False, seed=1, **changes):
    """A run of so many iterations in `folder`; returns the problem and the trainer's best metric."""
    model = grey_model(A=4, dtype=torch.float32, **changes)
    problem = problem_of(model, S=2)
    config = TrainingConfig(
        iterations=iterations,
        learning_rate=0.01,
        final_learning_rate_factor=1.0,
        tempering_iterations=5,
        initial_beta=0.0,
        validate_every=2,
        seed=seed,
        trace_every=1,
    )
    if resume:
        run = RunDirectory.open(folder)
        trainer = Trainer(problem, config, run)
        trainer.resume()
    else:
        run = RunDirectory.create(folder)
        run.commit({})
        trainer = Trainer(problem, config, run)
    return problem, trainer.run()


def flat(state):
    return torch.cat([value.flatten().double() for value in state["model"].values()])


@pytest.mark.parametrize(
    "changes",
    [{"norm": "layer"}, {"norm": "batch"}, FAMILIES["composite"], {"encoder": "separate", **FAMILIES["hierarchical"]}],
    ids=["layer", "batch", "composite", "hierarchical-separate"],
)
def test_resuming_is_bit_for_bit(tmp_path, changes):
    whole, result = train(tmp_path / "whole.vbpi", 12, **changes)
    train(tmp_path / "parts.vbpi", 5, **changes)
    parts, resumed = train(tmp_path / "parts.vbpi", 12, resume=True, **changes)
    assert torch.equal(flat(whole.state_dict()), flat(parts.state_dict()))
    assert torch.equal(whole.component_counts, parts.component_counts)
    assert int(whole.component_counts.sum()) == 12 * 4 * 2
    assert result.best_metric == resumed.best_metric
    columns = [line.split(",") for line in (tmp_path / "whole.vbpi" / "trace.csv").read_text().splitlines()]
    again = [line.split(",") for line in (tmp_path / "parts.vbpi" / "trace.csv").read_text().splitlines()]
    clock = columns[0].index("seconds")
    assert [row[:clock] + row[clock + 1 :] for row in columns] == [row[:clock] + row[clock + 1 :] for row in again]


def test_training_raises_the_bound(tmp_path):
    model = grey_model(A=4, dtype=torch.float32)
    problem = problem_of(model, batch_size=12)
    before = problem.validate(0, torch.Generator().manual_seed(1))["miselbo"]
    config = TrainingConfig(iterations=60, learning_rate=0.02, tempering_iterations=20)
    Trainer(problem, config).run()
    assert problem.validate(0, torch.Generator().manual_seed(1))["reconstruction"] > before + 0.5


def test_a_model_survives_its_checkpoint(tmp_path):
    model, other = grey_model(A=3, seed=1), grey_model(A=3, seed=2)
    problem = problem_of(model)
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, Checkpoint("image", {}, {}, problem.state_dict()))
    problem_of(other).load_state_dict(load_checkpoint(path, "image").problem)
    images = images_for(model, 2)
    assert torch.equal(model.encode(images).mean, other.encode(images).mean)
    with pytest.raises(RuntimeError, match="size mismatch"):
        problem_of(grey_model(A=4)).load_state_dict(load_checkpoint(path).problem)


def test_a_run_of_another_model_is_not_resumed(tmp_path):
    train(tmp_path / "run.vbpi", 2)
    with pytest.raises(CheckpointError, match="does not fit this model"):
        train(tmp_path / "run.vbpi", 4, resume=True, latent=5)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"S": 4}, "S=4"),
        ({"importance_samples": 0}, "L=0"),
        ({"phi_per": "image"}, "point or batch"),
        ({"batch_size": 15}, "give from 1 to 14"),
        ({"batch_size": 0}, "give from 1 to 14"),
    ],
)
def test_what_does_not_fit_is_refused(options, match):
    with pytest.raises(ConfigError, match=match):
        problem_of(grey_model(A=3), **options)


@pytest.mark.parametrize(
    ("training", "validation", "match"),
    [
        (torch.zeros(4, 1, 8, 9), torch.zeros(2, 1, 8, 8), "training images have shape .* 1x8x8"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(0, 1, 8, 8), "validation images have shape"),
        (torch.full((4, 1, 8, 8), 16.0), torch.zeros(2, 1, 8, 8), "outside of"),
        (torch.full((4, 1, 8, 8), math.nan), torch.zeros(2, 1, 8, 8), "outside of"),
        (torch.zeros(4, 1, 8, 8, dtype=torch.int64), torch.zeros(2, 1, 8, 8), "int64"),
        (torch.zeros(4, 1, 8, 8), torch.full((2, 1, 8, 8), 0.5), "not binary"),
        (torch.zeros(4, 1, 8, 8), torch.ones((2, 1, 8, 8), dtype=torch.uint8), "not binary"),
    ],
)
def test_images_that_do_not_fit_are_refused(training, validation, match):
    with pytest.raises(ConfigError, match=match):
        ImageBatches(grey_model(), training, validation, batch_size=2)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20240611)
