"""The training loop. It knows parameters, bounds and files, and no domain.

One iteration: learning rate and beta from the schedule, the problem's objective, backward, one step of the
optimiser. All else (trace rows, reports, checkpoints) happens every so often, so that the loop itself costs
a few microseconds.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

import torch

from vbpi_mix.devices import fetch
from vbpi_mix.errors import CheckpointError
from vbpi_mix.parallel import from_first_rank, ranks
from vbpi_mix.threads import ThreadChoice, chosen_threads
from vbpi_mix.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.interrupt import StopRequest
from vbpi_mix.training.problem import ObjectiveLike, Problem, make_optimiser, scaled_groups
from vbpi_mix.training.provenance import environment, versions
from vbpi_mix.training.reports import NonFiniteError, TrainingReport, TrainingResult
from vbpi_mix.training.run_directory import RunDirectory
from vbpi_mix.training.schedules import make_schedule
from vbpi_mix.training.trace import TraceWriter
from vbpi_mix.training.validation import Watch

REPORT_EVERY_SECONDS = 0.5
FLUSH_EVERY_SECONDS = 5.0
TIMED_ITERATIONS = 10_000


class Trainer:
    """Trains a problem. With a run directory it writes trace and checkpoint there; `resume` continues them.

    `run_config` and `provenance` go into the checkpoint as they are (the training configuration, and versions
    and environment, if not given). `progress` is called about twice a second and once at the end.
    Under a process group all ranks train together: the first one's clock and signals count for all, and it alone
    writes files. ConfigError if the configuration does not fit the problem.
    """

    def __init__(
        self,
        problem: Problem,
        config: TrainingConfig,
        run_directory: RunDirectory | None = None,
        progress: Callable[[TrainingReport], None] | None = None,
        *,
        run_config: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.problem = problem
        self.config = config.resolve()
        self.iteration = 0
        self._run_directory = run_directory
        self._progress = progress
        self._run_config = run_config if run_config is not None else {"training": self.config.to_dict()}
        self._provenance = provenance if provenance is not None else {**versions(), **environment()}
        self._groups = scaled_groups(problem, self.config.learning_rate_multipliers)
        self._optimiser = make_optimiser(problem, self._groups)
        self._schedule = make_schedule(self.config)
        self._watch = Watch(problem, self.config)
        self._generator = torch.Generator().manual_seed(self.config.seed)
        self._trace: TraceWriter | None = None
        self._recent: deque[float] = deque(maxlen=self.config.bound_window)
        self._row_sum, self._row_count = 0.0, 0
        self._durations: deque[float] = deque(maxlen=TIMED_ITERATIONS)
        self._earlier_median: float | None = None
        self._by_threads: Counter[int] = Counter()  # iterations made with each number
        self._learning_rate, self._beta = self._schedule.at(1, 0.0)
        self._metrics: dict[str, float] = {}
        self._seconds = 0.0
        self._next_report = self._next_flush = self._next_save = math.inf
        self._saved_iteration: int | None = None
        self._resumed = False
        rank, n_ranks = ranks()
        self._writes = run_directory is not None and rank == 0
        self._alone = n_ranks == 1

    def resume(self) -> None:
        """Continue the run of the run directory from its checkpoint, exactly as if it had not stopped.

        CheckpointError if it cannot be read, is of another kind, or does not fit the problem.
        """
        if self._run_directory is None:
            raise ValueError("only a run with a run directory can be resumed")
        path = self._run_directory.checkpoint
        checkpoint = load_checkpoint(path, self.problem.kind)
        try:
            self._load(checkpoint)
        except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
            reason = str(error).strip().split("\n")[0]
            raise CheckpointError(f"{path} does not fit this model: {reason}") from error
        self._saved_iteration = self.iteration
        self._resumed = True

    @property
    def ended(self) -> bool:
        """Whether `run` would train nothing, as a budget is used up or training has converged."""
        return self._reason_to_stop(False) is not None

    def begin(self) -> None:
        """Open the trace, and write the checkpoint from which a run that has just begun can be resumed."""
        if self._run_directory is None or not self._writes or self._trace is not None:
            return
        keep_until = self.iteration if self._resumed else None
        self._trace = TraceWriter(self._run_directory.trace, self._watch.metric_names, keep_until)
        if not self._resumed:
            self._save()

    def run(self) -> TrainingResult:
        """Train until the schedule, a budget, patience or a signal ends it; the last state is saved.

        If the configuration keeps the best state, the problem holds it afterwards. NonFiniteError if the
        bound or a parameter stops being finite: the last checkpoint is kept.
        """
        self.begin()
        try:
            with StopRequest() as stop, chosen_threads(left=self._iterations_left) as threads:
                threads.counts = self._by_threads
                reason = self._loop(stop, threads)
                self._save()
        finally:
            if self._trace is not None:
                self._trace.flush()
        if self._progress is not None:
            self._progress(self._report(finished=True))
        if self._watch.best_state is not None:
            self.problem.load_state_dict(self._watch.best_state)
        return TrainingResult(
            iterations=self.iteration,
            seconds=self._seconds,
            seconds_per_iteration=self._median_seconds(),
            bound=self._smoothed_bound(),
            stop_reason=reason,
            best_metric=self._watch.best,
            threads=dict(sorted(self._by_threads.items())),
        )

    def _loop(self, stop: StopRequest, threads: ThreadChoice) -> str:
        """Iterate; returns why it ended. `_seconds` is the time of training, earlier parts included."""
        clock = time.perf_counter
        now = clock()
        start = now - self._seconds
        self._set_alarms(now)
        trace_every, validate_every = self.config.trace_every, self._watch.every
        while (reason := self._reason_to_stop(self._agreed(stop.asked))) is None:
            self._iterate()
            before, now = now, clock()
            self._durations.append(now - before)
            threads.observe(now - before)
            self._seconds = now - start
            if validate_every and self.iteration % validate_every == 0:
                held = self.config.initial_beta < 0.0 and self._beta < 1.0
                self._metrics = self._watch.measure(self.iteration, patient=held)
                self._write_row(self._metrics)
                now = clock()
            elif self.iteration % trace_every == 0:
                self._write_row({})
            if now >= self._next_alarm:
                self._answer_alarms(now)
                now = clock()
        self._seconds = now - start
        return reason

    def _iterate(self) -> None:
        """Iteration t: objective, backward, step. NonFiniteError before a bad bound changes anything."""
        iteration = self.iteration + 1
        learning_rate, beta = self._schedule.at(iteration, self._seconds)
        beta = max(beta, self._beta)  # other budgets than those it was begun with must not temper a run once more
        objective = self.problem.objective(iteration, beta, self._generator)
        read_bound = fetch(objective.bound)
        on_gpu = objective.bound.device.type == "cuda"
        gradients = self._gradients(objective) if on_gpu else None  # its queue is to be full while the bound is awaited
        bound = read_bound()
        if not math.isfinite(bound):
            raise self._non_finite(f"the bound became {bound} at iteration {iteration:,}")
        if not on_gpu:
            gradients = self._gradients(objective)
        self._optimiser.set_learning_rate(learning_rate)
        self._optimiser.step(gradients)
        self._schedule.observe(objective, beta)
        if beta >= 1.0 > self._beta:  # the bounds so far are of a tempered target
            self._recent.clear()
        self._learning_rate, self._beta, self.iteration = learning_rate, beta, iteration
        self._recent.append(bound)
        self._row_sum += bound
        self._row_count += 1

    def _gradients(self, objective: ObjectiveLike) -> Mapping[torch.Tensor, Any] | None:
        """Those of one objective alone."""
        self._optimiser.zero_grad()
        return objective.backward()

    def _agreed(self, asked: bool) -> bool:
        """Whether to stop, and `_seconds`, as the first rank has them: otherwise ranks would part."""
        if self._alone:
            return asked
        self._seconds, stop = from_first_rank([self._seconds, float(asked)])
        return bool(stop)

    def _reason_to_stop(self, asked: bool) -> str | None:
        if self._schedule.converged:
            return "converged"
        if self._watch.exhausted:
            return "patience"
        if self._schedule.iterations is not None and self.iteration >= self._schedule.iterations:
            return "iterations"
        if self.config.seconds is not None and self._seconds >= self.config.seconds:
            return "seconds"
        return "interrupted" if asked else None

    def _set_alarms(self, now: float) -> None:
        save_every = self.config.checkpoint_every_seconds
        self._next_report = now + REPORT_EVERY_SECONDS
        self._next_flush = now + FLUSH_EVERY_SECONDS
        self._next_save = math.inf if save_every is None else now + save_every
        self._next_alarm = min(self._next_report, self._next_flush, self._next_save)

    def _answer_alarms(self, now: float) -> None:
        """Report, flush the trace and save, whichever is due at time `now`."""
        if now >= self._next_report:
            self._next_report = now + REPORT_EVERY_SECONDS
            if self._progress is not None:
                self._progress(self._report())
        if now >= self._next_flush:
            self._next_flush = now + FLUSH_EVERY_SECONDS
            if self._trace is not None:
                self._trace.flush()
        if now >= self._next_save:
            self._save()
            self._next_save = time.perf_counter() + (self.config.checkpoint_every_seconds or 0.0)
        self._next_alarm = min(self._next_report, self._next_flush, self._next_save)

    def _write_row(self, metrics: Mapping[str, float]) -> None:
        """Close the trace's interval at this iteration."""
        if self._row_count and self._trace is not None:
            bound = self._row_sum / self._row_count
            self._trace.row(self.iteration, self._seconds, bound, self._beta, self._learning_rate, metrics)
        self._row_sum, self._row_count = 0.0, 0

    def _smoothed_bound(self) -> float:
        return math.fsum(self._recent) / len(self._recent) if self._recent else math.nan

    def _median_seconds(self) -> float | None:
        return statistics.median(self._durations) if self._durations else self._earlier_median

    @property
    def _planned(self) -> int | None:
        return None if self._schedule.open_ended else self._schedule.iterations

    def _seconds_left(self) -> float | None:
        left: list[float] = []
        if self._planned is not None:
            left.append((self._planned - self.iteration) * (self._median_seconds() or 0.0))
        if self.config.seconds is not None:
            left.append(max(0.0, self.config.seconds - self._seconds))
        return min(left, default=None)

    def _iterations_left(self) -> float | None:
        seconds, median = self._seconds_left(), self._median_seconds()
        return None if seconds is None or not median else seconds / median

    def _report(self, finished: bool = False) -> TrainingReport:
        return TrainingReport(
            iteration=self.iteration,
            iterations=self._planned,
            seconds=self._seconds,
            seconds_left=self._seconds_left(),
            bound=self._smoothed_bound(),
            beta=self._beta,
            learning_rate=self._learning_rate,
            metrics=self._metrics,
            finished=finished,
        )

    def _non_finite(self, what: str) -> NonFiniteError:
        if self._saved_iteration is None:
            kept = "no checkpoint was written"
        else:
            kept = f"the checkpoint of iteration {self._saved_iteration:,} is kept"
        rate = self._schedule.at(self.iteration + 1, self._seconds)[0]
        advice = "lower the learning rate and start again"
        return NonFiniteError(f"{what} (learning rate {rate:.3g}); {kept}: {advice}")

    def _save(self) -> None:
        """Write the checkpoint after the trace that leads to it. NonFiniteError rather than a useless one."""
        if self._run_directory is None or not self._writes or self._saved_iteration == self.iteration:
            return
        for group in self._groups:
            if not all(bool(torch.isfinite(tensor).all()) for tensor in group["params"]):
                name = group.get("name", "unnamed")
                raise self._non_finite(f"parameters {name} are not finite after iteration {self.iteration:,}")
        if self._trace is not None:
            self._trace.flush()
        latest, best = self.problem.state_dict(), self._watch.best_state
        training = self._training_state()
        training["latest"] = None if best is None else latest
        save_checkpoint(
            self._run_directory.checkpoint,
            Checkpoint(
                kind=self.problem.kind,
                config=self._run_config,
                provenance=self._provenance,
                problem=latest if best is None else best,
                training=training,
            ),
        )
        self._saved_iteration = self.iteration

    def _training_state(self) -> dict[str, Any]:
        return {
            "iteration": self.iteration,
            "seconds": self._seconds,
            "seconds_per_iteration": self._median_seconds(),
            "beta": self._beta,
            "learning_rate": self._learning_rate,
            "recent": torch.tensor(list(self._recent), dtype=torch.float64),
            "row_sum": self._row_sum,
            "row_count": self._row_count,
            "metrics": self._metrics,
            "generator": self._generator.get_state(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "watch": self._watch.state_dict(),
            "by_threads": dict(self._by_threads),
        }

    def _load(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.training
        latest = state["latest"]
        best = None if latest is None else dict(checkpoint.problem)
        self.problem.load_state_dict(checkpoint.problem if latest is None else latest)
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._watch.load_state_dict(state["watch"], best)
        self._generator.set_state(state["generator"])
        self._recent.extend(state["recent"].tolist())
        self._row_sum, self._row_count = state["row_sum"], state["row_count"]
        self._beta, self._learning_rate = state["beta"], state["learning_rate"]
        self._metrics = dict(state["metrics"])
        self._seconds = state["seconds"]
        self._earlier_median = state["seconds_per_iteration"]
        self._by_threads.update(state.get("by_threads", {}))
        self.iteration = state["iteration"]
