"""Fit an alignment several times, and resume that where it was cut off.

config.yaml of the folder holds the plan, seeds, data and every choice, so that a fit that was not begun can be begun later, from
anywhere.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from vbpi_mix import leftovers
from vbpi_mix.errors import ConfigError, RunDirectoryError
from vbpi_mix.phylo.asked import UNFINISHED, Asked
from vbpi_mix.phylo.config import FitConfig
from vbpi_mix.phylo.data.alignment import Alignment
from vbpi_mix.phylo.fit import begin, digest_of, resume
from vbpi_mix.phylo.inputs import Progress, Trees, find_alignment, say_nothing
from vbpi_mix.phylo.replicates import Replicates, holds_replicates
from vbpi_mix.phylo.run import REPLICATES, Run, load
from vbpi_mix.training.extension import has_checkpoint
from vbpi_mix.training.provenance import typed_commands
from vbpi_mix.training.reports import Note
from vbpi_mix.training.run_directory import RunDirectory, is_run

# The entry of config.yaml that has what was asked for, all but the seeds.
_ASKED = "asked"


@dataclass(frozen=True, eq=False)
class Plan:
    """What is to be fitted: replicate k with seeds[k], whatever the seed that was asked for."""

    asked: Asked
    seeds: tuple[int, ...]

    def begin(self, folder: Path, k: int, tell: Progress) -> Run:
        """Replicate k at its place, ready to be trained; what stands there was never trained."""
        tell(Note(f"replicate {k + 1} of {len(self.seeds)}, seed {self.seeds[k]}"))
        config, place = dataclasses.replace(self.asked.config, seed=self.seeds[k]), folder / _name(k)
        if place.is_dir() and is_run(place):
            leftovers.remove(place, place.name)
        return begin(self.asked.alignment, self.asked.trees, place, False, config, tell)

    def entries(self) -> dict[str, Any]:
        """For config.yaml."""
        return {"seeds": list(self.seeds), _ASKED: self.asked.entries()}

    @classmethod
    def of(cls, directory: RunDirectory) -> Plan:
        """What `entries` has left. RunDirectoryError if data were given in memory or have changed, or the plan is no good."""
        config = directory.read_config()
        seeds, data = config.get("seeds"), config.get("alignment")
        if _ASKED not in config or not isinstance(seeds, list) or not isinstance(data, dict):
            raise RunDirectoryError(f"{directory.path}: its config.yaml does not say what is to be fitted: fit anew")
        asked = Asked.of(config[_ASKED], directory.path)
        assert not isinstance(asked.alignment, Alignment)
        place = find_alignment(asked.alignment)
        if not place.is_file() or digest_of(place) != data.get("sha256"):
            raise RunDirectoryError(f"{place} is not what the first fit of {directory.path} read: put it back")
        return cls(asked, tuple(seeds))


def fit_replicates(
    alignment: str | os.PathLike[str] | Alignment,
    trees: Trees = None,
    *,
    replicates: int,
    out: str | os.PathLike[str],
    force: bool = False,
    config: FitConfig | None = None,
    progress: Progress | None = None,
    **choices: Any,
) -> Replicates:
    """Fit an alignment several times, with seeds that follow one another, and pool the answers.

    replicates: how many, at least 2. out: the folder for all; each is a run in it, replicate-1 and so on. Each makes its own tree
    sample unless `trees`, or files beside the alignment, are one. Ctrl-C ends the fit at work, and no other begins; `resume_any`
    goes on from there. Other arguments and errors as of `fit`.

    >>> import tempfile, vbpi_mix
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     given = dict(support="fixed", iterations=20, threads=1, out=f"{folder}/eight.vbpi")
    ...     found = vbpi_mix.fit_replicates("examples/eight.nex", "examples/eight.nwk", replicates=2, **given)
    ...     len(found.runs), round(found.facts.replicates_asdsf, 6)
    (2, 0.0)
    """
    if isinstance(replicates, bool) or not isinstance(replicates, int) or replicates < 2:
        raise ConfigError(f"replicates must be a whole number of at least 2, not {replicates!r}")
    asked = FitConfig.of(config, **choices)
    plan = Plan(Asked(alignment, trees, asked), tuple(asked.seed + k for k in range(replicates)))
    with RunDirectory.create(out, force) as directory:
        first = plan.begin(directory.path, 0, progress or say_nothing)
        directory.update_summary({"commands": typed_commands()})
        directory.commit({"command": REPLICATES, **plan.entries(), "alignment": first.config["alignment"]})
        first.directory.relocate(directory.path / _name(0))
        first.train(progress)
        found = _the_rest(directory, plan, [first], progress)
    return _settled(found)


def resume_any(
    path: str | os.PathLike[str],
    *,
    iterations: int | None = None,
    seconds: float | None = None,
    threads: int | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> Run | Replicates:
    """Continue the run, or the replicates, in a folder.

    Replicates that were cut off are trained to their end as if they had not stopped, those not begun are begun, and the answers
    are pooled. Budgets, which are of each fit, and errors as of `Run.resume`; RunDirectoryError if fits are to be begun and the
    data are not there, or not the same.
    """
    directory = RunDirectory.open_unfinished(path)
    budgets = {"iterations": iterations, "seconds": seconds, "threads": threads, "device": device}
    given: dict[str, Any] = {name: value for name, value in budgets.items() if value is not None}
    if not holds_replicates(directory):
        return resume(path, **given, progress=progress)
    with directory:
        found = _resumed(directory, given, progress)
    return _settled(found)


def _resumed(directory: RunDirectory, given: Mapping[str, Any], progress: Progress | None) -> Replicates:
    """Replicates continued; given: new budgets."""
    count = len(directory.read_config().get("seeds") or [])
    runs = [load(place) for place in takewhile(_begun, [directory.path / _name(k) for k in range(count)])]
    plan = Plan.of(directory) if len(runs) < count else None
    for run in runs:
        # What is refused is refused before any is changed.
        run.extended(**{name: value for name, value in given.items() if name != "device"})
    directory.update_summary({"commands": typed_commands(directory.read_summary())})
    _keep_budgets(directory, given)
    kept = []
    for run in runs:
        kept.append(run)
        if given or not _ended(run):
            run.resume(**given, progress=progress)
            if not _ended(run):
                break
    if plan is None or len(kept) < len(runs):
        return _pooled(directory, kept)
    asked = dataclasses.replace(plan.asked, config=dataclasses.replace(plan.asked.config, **given))
    return _the_rest(directory, dataclasses.replace(plan, asked=asked), kept, progress)


def _the_rest(directory: RunDirectory, plan: Plan, runs: list[Run], progress: Progress | None) -> Replicates:
    """Begin and train the fits that follow `runs`, unless the last of these was interrupted, and pool all."""
    tell, count = progress or say_nothing, len(plan.seeds)
    for k in range(len(runs), count):
        if runs and not _ended(runs[-1]):
            tell(Note(f"interrupted: {k} of {count} replicates were fitted", warning=True))
            break
        runs.append(plan.begin(directory.path, k, tell))
        runs[-1].train(progress)
    return _pooled(directory, runs)


def _settled(found: Replicates) -> Replicates:
    """Where its runs are now: a folder that has replaced another one has moved."""
    for run in found.runs:
        run.directory.relocate(found.path / run.path.name)
    return found


def _pooled(directory: RunDirectory, runs: list[Run]) -> Replicates:
    found = Replicates(directory, runs)
    found.write()
    return found


def _begun(place: Path) -> bool:
    """Whether there is a fit with a checkpoint to load; one that was cut off before its first has nothing to go on from.
    CheckpointError if it had come to an end and has none."""
    if not place.is_dir():
        return False
    directory = RunDirectory.open(place)
    if UNFINISHED in directory.read_config():
        return False
    return directory.checkpoint.exists() or ("iterations" in directory.read_summary() and has_checkpoint(directory))


def _ended(run: Run) -> bool:
    """Whether a fit came to its end and has an answer."""
    summary = run.summary
    return "answer" in summary and summary.get("stop_reason") != "interrupted"


def _keep_budgets(directory: RunDirectory, given: Mapping[str, Any]) -> None:
    """For fits that are begun later, should this be cut off, too."""
    config = directory.read_config()
    asked = config.get(_ASKED)
    if given and isinstance(asked, dict) and isinstance(asked.get("choices"), dict):
        directory.write_config({**config, _ASKED: {**asked, "choices": {**asked["choices"], **given}}})


def _name(k: int) -> str:
    return f"replicate-{k + 1}"
