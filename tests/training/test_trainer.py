"""The training loop: it learns, stops for the right reason, and resumes exactly where it stopped."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from gaussian_problem import TARGET_MEAN, GaussianProblem, ValidatedProblem

from vbpi_mix.errors import CheckpointError, ConfigError
from vbpi_mix.training.checkpoint import load_checkpoint
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.reports import NonFiniteError
from vbpi_mix.training.run_directory import RunDirectory
from vbpi_mix.training.trainer import Trainer

PLATEAU = {
    "learning_rate": 0.05,
    "plateau_window": 60,
    "plateau_reductions": 2,
    "tempering_iterations": 30,
    "trace_every": 7,
    "iteration_limit": 5_000,
}
STEPS = {
    "schedule": "paper",
    "iterations": 200,
    "decay_every": 60,
    "tempering_iterations": 90,
    "trace_every": 9,
}


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    directory = RunDirectory.create(tmp_path / "toy.vbpi")
    directory.commit({"model": "gaussian"})
    return directory


def trace_of(directory: RunDirectory) -> list[tuple[str, ...]]:
    """The rows of the trace without the seconds, the one column that no two runs share."""
    rows = [line.split(",") for line in directory.trace.read_text().splitlines()]
    return [(row[0], *row[2:]) for row in rows]


def interrupt_at(when: int, number: int = signal.SIGINT):
    def before(iteration: int) -> None:
        if iteration == when:
            os.kill(os.getpid(), number)

    return before


def test_learns_and_converges():
    problem = GaussianProblem()
    result = Trainer(problem, TrainingConfig(learning_rate=0.05, plateau_window=150)).run()
    assert result.stop_reason == "converged"
    assert result.bound == pytest.approx(0.0, abs=0.01)
    assert result.seconds_per_iteration is not None
    torch.testing.assert_close(problem.mean.detach(), TARGET_MEAN, atol=0.05, rtol=0)


def test_stops_after_the_iterations(run):
    result = Trainer(GaussianProblem(), TrainingConfig(iterations=25, trace_every=10), run).run()
    assert (result.iterations, result.stop_reason) == (25, "iterations")
    assert [row[0] for row in trace_of(run)] == ["iteration", "10", "20"]
    assert load_checkpoint(run.checkpoint, "toy").training["iteration"] == 25


def test_stops_for_the_seconds():
    result = Trainer(GaussianProblem(), TrainingConfig(seconds=0.05)).run()
    assert result.stop_reason == "seconds"
    assert result.seconds >= 0.05
    assert result.iterations >= 1


def test_the_bound_of_a_row_is_the_mean_since_the_row_before(run):
    bounds = {iteration: torch.tensor(float(iteration**2)) for iteration in range(1, 7)}
    problem = GaussianProblem(bound_of=lambda iteration, bound: bounds[iteration])
    result = Trainer(problem, TrainingConfig(iterations=6, trace_every=3, bound_window=4), run).run()
    assert [float(row[1]) for row in trace_of(run)[1:]] == pytest.approx([14 / 3, 77 / 3])
    assert result.bound == pytest.approx((9 + 16 + 25 + 36) / 4)


def test_the_reported_bound_leaves_out_tempered_iterations():
    seen: list[float] = []

    def note(iteration: int, bound: torch.Tensor) -> torch.Tensor:
        seen.append(bound.item())
        return bound

    config = TrainingConfig(schedule="paper", iterations=30, tempering_iterations=20, initial_beta=0.0)
    result = Trainer(GaussianProblem(bound_of=note), config).run()
    assert result.bound == pytest.approx(sum(seen[19:]) / 11)


@pytest.mark.parametrize("options", [PLATEAU, STEPS, {"iterations": 200, "trace_every": 1}])
@pytest.mark.parametrize("when", [1, 64, 130])
def test_resumed_run_has_the_trace_of_an_unbroken_one(tmp_path, options, when):
    config = TrainingConfig(**options)
    whole, broken = (RunDirectory.create(tmp_path / name) for name in ("whole", "broken"))
    problem = GaussianProblem()
    expected = Trainer(problem, config, whole).run()
    first = Trainer(GaussianProblem(before=interrupt_at(when)), config, broken).run()
    assert (first.stop_reason, first.iterations) == ("interrupted", when)
    with broken.trace.open("a") as file:
        file.write("99999,1.0,1.0,1.0,1.0\n")  # rows after the checkpoint are dropped
    resumed = GaussianProblem()
    trainer = Trainer(resumed, config, broken)
    trainer.resume()
    result = trainer.run()
    assert trace_of(broken) == trace_of(whole)
    assert (result.iterations, result.bound) == (expected.iterations, expected.bound)
    assert result.stop_reason == expected.stop_reason
    assert result.seconds > first.seconds
    assert torch.equal(resumed.mean, problem.mean)
    assert torch.equal(resumed.log_scale, problem.log_scale)


def test_resuming_a_finished_run_changes_nothing(run):
    config = TrainingConfig(iterations=30)
    before = Trainer(GaussianProblem(), config, run).run()
    files = {path.name: path.read_bytes() for path in run.path.iterdir()}
    trainer = Trainer(GaussianProblem(), config, run)
    trainer.resume()
    after = trainer.run()
    assert after == before
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == files


def test_a_finished_run_can_be_extended(run):
    Trainer(GaussianProblem(), TrainingConfig(iterations=30), run).run()
    trainer = Trainer(GaussianProblem(), TrainingConfig(iterations=50), run)
    trainer.resume()
    assert trainer.run().iterations == 50


def test_beta_never_falls_when_a_run_goes_on_under_a_slower_tempering(run):
    betas: list[float] = []

    class Noting(GaussianProblem):
        def objective(self, iteration, beta, generator):
            betas.append(beta)
            return super().objective(iteration, beta, generator)

    Trainer(Noting(), TrainingConfig(iterations=20, tempering_iterations=40), run).run()
    trainer = Trainer(Noting(), TrainingConfig(iterations=100, tempering_iterations=80), run)
    trainer.resume()
    trainer.run()
    assert betas == sorted(betas)
    assert betas[20:40] == [betas[19]] * 20
    assert betas[60] == pytest.approx(0.001 + 61 / 80)
    assert betas[-1] == 1.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_leaves_a_checkpoint_and_the_handlers(run, number):
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    result = Trainer(
        GaussianProblem(before=interrupt_at(12, number)), TrainingConfig(iterations=99), run
    ).run()
    assert (result.stop_reason, result.iterations) == ("interrupted", 12)
    assert load_checkpoint(run.checkpoint, "toy").training["iteration"] == 12
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_second_interruption_does_not_wait(run):
    def before(iteration: int) -> None:
        if iteration == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Trainer(GaussianProblem(before=before), TrainingConfig(iterations=99), run).run()


def test_what_torchrun_passes_on_at_once_is_the_same_interruption(run, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")

    def before(iteration: int) -> None:
        if iteration == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    result = Trainer(GaussianProblem(before=before), TrainingConfig(iterations=99), run).run()
    assert (result.stop_reason, result.iterations) == ("interrupted", 5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_bound_that_is_not_finite_ends_the_run(run, value):
    config = TrainingConfig(iterations=50, checkpoint_every_seconds=0.0, trace_every=1)

    def bound_of(iteration: int, bound: torch.Tensor) -> torch.Tensor:
        return torch.tensor(value) if iteration == 21 else bound

    with pytest.raises(NonFiniteError, match=r"iteration 21 .*checkpoint of iteration 20 is kept"):
        Trainer(GaussianProblem(bound_of=bound_of), config, run).run()
    assert trace_of(run)[-1][0] == "20"
    assert load_checkpoint(run.checkpoint, "toy").training["iteration"] == 20


def test_a_bound_that_is_not_finite_without_a_checkpoint():
    problem = GaussianProblem(bound_of=lambda iteration, bound: bound * float("nan"))
    with pytest.raises(NonFiniteError, match=r"nan at iteration 1 .*no checkpoint was written") as caught:
        Trainer(problem, TrainingConfig(iterations=5)).run()
    assert "\n" not in str(caught.value)


def test_parameters_that_are_not_finite_are_not_saved(run):
    class Broken(GaussianProblem):
        def objective(self, iteration, beta, generator):
            objective = super().objective(iteration, beta, generator)
            return objective._replace(surrogate=objective.surrogate * float("nan"))

    with pytest.raises(NonFiniteError, match="parameters mean"):
        Trainer(Broken(), TrainingConfig(iterations=1), run).run()
    assert load_checkpoint(run.checkpoint).training["iteration"] == 0


def test_an_error_in_the_problem_keeps_the_trace(run):
    def before(iteration: int) -> None:
        if iteration == 11:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Trainer(GaussianProblem(before=before), TrainingConfig(iterations=50, trace_every=5), run).run()
    assert [row[0] for row in trace_of(run)] == ["iteration", "5", "10"]


def test_checkpoint_of_another_model_is_one_line(run):
    Trainer(GaussianProblem(), TrainingConfig(iterations=3), run).run()
    other = GaussianProblem()
    other.kind = "phylo"
    with pytest.raises(CheckpointError, match="kind toy"):
        Trainer(other, TrainingConfig(iterations=3), run).resume()
    wider = GaussianProblem()
    wider.mean = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    with pytest.raises(CheckpointError, match="does not fit"):
        Trainer(wider, TrainingConfig(iterations=3), run).resume()


def test_multipliers_scale_the_step():
    config = TrainingConfig(
        iterations=1, learning_rate=0.1, tempering_iterations=0, learning_rate_multipliers={"scale": 0.2}
    )
    problem = GaussianProblem()
    Trainer(problem, config).run()
    torch.testing.assert_close(problem.mean.detach().abs(), torch.full((3,), 0.1, dtype=torch.float64))
    moved = (problem.log_scale.detach() - 0.5).abs()
    torch.testing.assert_close(moved, torch.full((3,), 0.1 * 0.5 * 0.2, dtype=torch.float64))
    with pytest.raises(ConfigError, match="'scael'"):
        Trainer(GaussianProblem(), TrainingConfig(learning_rate_multipliers={"scael": 1.0}))


def test_early_stopping_keeps_the_best_state(run):
    config = TrainingConfig(iterations=100, validate_every=5, patience=2, keep_best=True, trace_every=4)
    problem = ValidatedProblem([0.0, 3.0, 2.0, 1.0, 9.0])
    result = Trainer(problem, config, run).run()
    assert (result.stop_reason, result.iterations, result.best_metric) == ("patience", 20, 3.0)
    assert problem.mean[0].item() == problem.states[1]
    saved = load_checkpoint(run.checkpoint, "toy")
    assert saved.problem["mean"][0].item() == problem.states[1]
    assert saved.training["latest"]["mean"][0].item() == problem.states[3]
    rows = {row[0]: row[4:] for row in trace_of(run)}
    assert rows["iteration"] == ("held_out", "state")
    assert rows["8"] == ("", "")
    assert float(rows["10"][0]) == 3.0


def test_a_bound_that_falls_while_its_kl_term_is_held_back_takes_no_patience():
    config = TrainingConfig(iterations=100, validate_every=5, patience=2, tempering_iterations=30, initial_beta=-1.0)
    result = Trainer(ValidatedProblem([-float(k) for k in range(20)]), config).run()
    assert (result.stop_reason, result.iterations) == ("patience", 35)


def test_early_stopping_resumes_exactly(tmp_path):
    config = TrainingConfig(iterations=60, validate_every=5, patience=4, keep_best=True)
    values = [0.0, 1.0, 5.0, 4.0, 3.0, 2.0, 1.0, 9.0]
    whole, broken = (RunDirectory.create(tmp_path / name) for name in ("whole", "broken"))
    expected = ValidatedProblem(values)
    expected_result = Trainer(expected, config, whole).run()
    first = ValidatedProblem(values)
    first._before = interrupt_at(22)
    Trainer(first, config, broken).run()
    second = ValidatedProblem(values[4:])
    trainer = Trainer(second, config, broken)
    trainer.resume()
    result = trainer.run()
    assert (result.iterations, result.stop_reason) == (expected_result.iterations, "patience")
    assert trace_of(broken) == trace_of(whole)
    assert first.noise + second.noise == expected.noise
    assert torch.equal(second.mean, expected.mean)


def test_smaller_can_be_better():
    config = TrainingConfig(iterations=50, validate_every=5, patience=1, validation_maximise=False)
    result = Trainer(ValidatedProblem([3.0, 2.0, float("nan"), 0.0]), config).run()
    assert (result.stop_reason, result.iterations, result.best_metric) == ("patience", 15, 2.0)


def test_validation_that_the_problem_does_not_have():
    with pytest.raises(ConfigError, match="held-out"):
        Trainer(GaussianProblem(), TrainingConfig(validate_every=5))
    config = TrainingConfig(validate_every=5, validation_metric="accuracy")
    with pytest.raises(ConfigError, match="held_out, state"):
        Trainer(ValidatedProblem([]), config)


def test_a_problem_may_bring_its_optimiser():
    class Descent:
        def __init__(self, groups):
            self.groups, self.rate, self.steps = groups, 0.0, 0

        def set_learning_rate(self, learning_rate):
            self.rate = learning_rate

        def zero_grad(self):
            for group in self.groups:
                for tensor in group["params"]:
                    tensor.grad = None

        def step(self, gradients=None):
            assert not gradients  # torch's graph leaves them in .grad
            self.steps += 1
            with torch.no_grad():
                for group in self.groups:
                    for tensor in group["params"]:
                        tensor -= self.rate * group["multiplier"] * tensor.grad

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    class WithDescent(GaussianProblem):
        def make_optimiser(self, groups):
            self.descent = Descent(groups)
            return self.descent

    problem = WithDescent()
    result = Trainer(problem, TrainingConfig(iterations=400, learning_rate=0.2)).run()
    assert problem.descent.steps == 400
    assert result.bound > -0.2


def test_reports_come_and_the_last_one_says_so():
    reports = []
    Trainer(GaussianProblem(), TrainingConfig(iterations=20), progress=reports.append).run()
    assert [report.finished for report in reports][-1]
    assert (reports[-1].iteration, reports[-1].iterations) == (20, 20)
