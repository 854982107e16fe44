"""Going on for longer: which budgets hold, what is refused, and where a run is found to stand."""

from __future__ import annotations

import pytest
from gaussian_problem import GaussianProblem

from vbpi_mix.errors import CheckpointError, ConfigError
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.extension import Standing, extend, has_checkpoint, standing_of
from vbpi_mix.training.run_directory import RunDirectory
from vbpi_mix.training.trainer import Trainer


def budgets(config: TrainingConfig) -> tuple[int | None, float | None]:
    return config.iterations, config.seconds


@pytest.mark.parametrize(
    ("own", "had", "given", "wanted"),
    [
        ((100, None), (100, 9.0), (200, None), (200, None)),
        ((100, None), (100, 9.0), (None, 60.0), (None, 60.0)),
        ((100, None), (30, 9.0), (None, 60.0), (100, 60.0)),
        ((None, 10.0), (50, 10.1), (200, None), (200, None)),
        ((None, 10.0), (50, 4.0), (200, None), (200, 10.0)),
        ((None, 10.0), (50, 10.1), (None, 60.0), (None, 60.0)),
        ((100, 10.0), (60, 10.1), (None, 60.0), (100, 60.0)),
        ((100, 10.0), (100, 4.0), (None, 60.0), (None, 60.0)),
        ((100, 10.0), (60, 10.1), (200, None), (200, None)),
        ((100, 10.0), (60, 10.1), (200, 60.0), (200, 60.0)),
        ((None, None), (60, 10.1), (None, 60.0), (None, 60.0)),
        ((100, None), (100, 9.0), (100, None), (100, None)),
        ((None, 10.0), (50, 10.1), (None, 10.0), (None, 10.0)),
        ((100, 10.0), (60, 4.0), (None, None), (100, 10.0)),
    ],
)
def test_the_budget_given_holds_and_the_other_unless_it_is_used_up(own, had, given, wanted):
    config = TrainingConfig(iterations=own[0], seconds=own[1]).resolve()
    longer = extend(config, Standing(*had), iterations=given[0], seconds=given[1])
    assert budgets(longer) == wanted
    assert longer.tempering_iterations == config.tempering_iterations
    assert longer.tempering_seconds == config.tempering_seconds


def test_less_than_the_run_has_had_is_refused():
    config = TrainingConfig(iterations=100, seconds=10.0)
    for given, words in (({"iterations": 50}, "50 iterations"), ({"seconds": 5.0}, "5 seconds")):
        with pytest.raises(ConfigError, match=f"{words} in all asked for, but the run has had"):
            extend(config, Standing(100, 10.2), **given)
    with pytest.raises(ConfigError, match="say how many"):
        extend(TrainingConfig(schedule="paper").resolve(), Standing(400_000, 10.0), seconds=60.0)


def test_a_run_out_of_patience_needs_more_of_it():
    config = TrainingConfig(iterations=100, validate_every=5, patience=3)
    standing = Standing(40, 1.0, since_best=3)
    assert extend(config, standing) is config
    with pytest.raises(ConfigError, match="more patience"):
        extend(config, standing, iterations=200)
    assert extend(config, standing, patience=4).patience == 4


def test_where_a_run_stands(tmp_path):
    run = RunDirectory.create(tmp_path / "toy.vbpi")
    run.commit({})
    assert not has_checkpoint(run)
    assert standing_of(run, "toy") == Standing()
    result = Trainer(GaussianProblem(), TrainingConfig(iterations=20), run).run()
    assert standing_of(run, "toy") == Standing(20, result.seconds, 0)
    with pytest.raises(CheckpointError, match="kind toy"):
        standing_of(run, "phylo")


@pytest.mark.parametrize("witness", ["trace", "summary"])
def test_a_checkpoint_that_is_gone_is_missed(tmp_path, witness):
    run = RunDirectory.create(tmp_path / "toy.vbpi")
    run.commit({})
    if witness == "trace":
        Trainer(GaussianProblem(), TrainingConfig(iterations=20), run).run()
        run.checkpoint.unlink()
    else:
        run.update_summary({"iterations": 20})
    with pytest.raises(CheckpointError, match="is missing, though this run was trained"):
        has_checkpoint(run)
