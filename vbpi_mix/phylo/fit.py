"""A fit from its parts: alignment and tree sample read or made, problem built, trained, and left as a Run."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import math
import os
import shutil
import tempfile
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from vbpi_mix.files import sha256_of
from vbpi_mix.phylo.asked import UNFINISHED, Asked, asked_for
from vbpi_mix.phylo.assess.coverage import held_out_coverage
from vbpi_mix.phylo.config import FitConfig
from vbpi_mix.phylo.data.alignment import Alignment, site_ranges
from vbpi_mix.phylo.inputs import Data, Progress, Trees, find_alignment, read_data, say_nothing
from vbpi_mix.phylo.models.device import check_device
from vbpi_mix.phylo.models.topology_prior import TopologyPrior
from vbpi_mix.phylo.parts import describe_target
from vbpi_mix.phylo.problem import PhyloProblem, build_problem
from vbpi_mix.phylo.run import Run, load_from
from vbpi_mix.phylo.sampling.saved import SavedSampling
from vbpi_mix.phylo.sampling.sources import describe_source, write_trprobs
from vbpi_mix.phylo.sampling.widen import widen_sample
from vbpi_mix.phylo.sbn.splits import split_frequencies
from vbpi_mix.phylo.trees.sample import TreeSample
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.provenance import typed_commands, use_threads
from vbpi_mix.training.reports import Note
from vbpi_mix.training.run_directory import RunDirectory


def fit(
    alignment: str | os.PathLike[str] | Alignment,
    trees: Trees = None,
    *,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    config: FitConfig | None = None,
    progress: Progress | None = None,
    **choices: Any,
) -> Run:
    """Learn the posterior of trees and branch lengths of an alignment.

    alignment  a FASTA, NEXUS or PHYLIP file, the name of a benchmark (DS1), or an Alignment
    trees      the tree sample: files or patterns of files, or a TreeSample. None: files beside the alignment that are
               plainly its tree sample, else what `trees_from` makes
    out        the run's folder. None: a temporary one, which is removed with the Run; `Run.save` keeps a copy
    force      replace an earlier run there
    config     every choice; `choices` are changes to it, by the names of the fields of FitConfig and ModelConfig
    progress   called with a Note, an McmcReport or a TrainingReport, whenever there is something to tell

    Ctrl-C ends training early and leaves a whole run. Raises a VbpiMixError, before anything is written, for what does not
    fit.

    >>> import vbpi_mix
    >>> run = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", components=2, iterations=20, threads=1)
    >>> run.model.components, run.summary["stop_reason"]
    (2, 'iterations')
    """
    run = begin(alignment, trees, out, force, FitConfig.of(config, **choices), progress or say_nothing)
    run.train(progress)
    return run


def resume(
    path: str | os.PathLike[str],
    *,
    iterations: int | None = None,
    seconds: float | None = None,
    threads: int | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> Run:
    """Continue the fit in a folder, from whatever step it was at when it ended: as if it had not stopped.

    A fit that had not begun to train makes its start anew, from the same seed, and its tree sample too if the sampler had run
    for less than twenty seconds; else the sampler goes on. One that was to replace
    another run is continued first, and takes its place. Budgets and device: as of `Run.resume`. Raises
    RunDirectoryError if there is no fit, another process is at work on it, or it was begun with data that are in no file;
    CheckpointError and ConfigError as `load` and `Run.resume`.

    >>> import tempfile, vbpi_mix
    >>> from vbpi_mix.phylo.fit import resume
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     place = f"{folder}/eight.vbpi"
    ...     made = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", iterations=20, threads=1, out=place)
    ...     resume(place, iterations=30).summary["iterations"]
    30
    """
    directory = RunDirectory.open_unfinished(path)
    budgets: dict[str, Any] = {"iterations": iterations, "seconds": seconds, "threads": threads, "device": device}
    with directory:
        asked = asked_for(directory)
        tell = progress or say_nothing
        if asked is None:
            run = load_from(directory)
            _compare_alignment(run.config.get("alignment") or {}, tell)
            return run.resume(progress=progress, **budgets)
        config = dataclasses.replace(asked.config, **{name: value for name, value in budgets.items() if value is not None})
        begins = "going on with its tree sample" if directory.before_training.is_file() else "starting from the beginning"
        tell(Note(f"the run had not begun to train: {begins}"))
        run = _start(directory, asked.alignment, asked.trees, config, tell)
        run.train(progress)
    return run


def _compare_alignment(recorded: dict[str, Any], tell: Progress) -> None:
    """Tell if the alignment's file is not what it was when the run began: the run has a copy of the data."""
    file = recorded.get("file")
    if file is None or not Path(file).is_file() or sha256_of(Path(file)) == recorded.get("sha256"):
        return
    text = f"{file} is not the file that this run began with; the run goes on with the data that it holds"
    tell(Note(text, warning=True))


def begin(
    alignment: str | os.PathLike[str] | Alignment,
    trees: Trees,
    out: str | os.PathLike[str] | None,
    force: bool,
    config: FitConfig,
    tell: Progress,
) -> Run:
    """A run that stands at its place, ready to be trained, and is kept from other processes until it has been; arguments and
    errors as of `fit`."""
    config.resolve().training()
    check_device(config.device or "cpu")
    temporary = tempfile.mkdtemp(prefix="vbpi-mix-") if out is None else None
    place = Path(out or "") if temporary is None else Path(temporary) / "run.vbpi"
    directory = RunDirectory.create(place, force)
    try:
        directory.commit({"command": "fit", UNFINISHED: Asked(alignment, trees, config).entries()}, tentative=True)
        run = _start(directory, alignment, trees, config, tell)
    except BaseException as error:
        if temporary is None and directory.committed and _is_from_without(error):
            directory.leave()
            tell(Note(f"what was begun is kept: `vbpi-mix fit --resume {place}` goes on"))
        else:
            directory.discard()
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    if temporary is not None:
        weakref.finalize(run, shutil.rmtree, temporary, ignore_errors=True)
    return run


def _is_from_without(error: BaseException) -> bool:
    """Whether what was asked for is not at fault, so that the same may succeed another time."""
    of_disk = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
    return isinstance(error, KeyboardInterrupt) or of_disk


def _start(
    directory: RunDirectory,
    alignment: str | os.PathLike[str] | Alignment,
    trees: Trees,
    config: FitConfig,
    tell: Progress,
) -> Run:
    """Read what is given, make what is not, and build what is to be trained."""
    asked = config.resolve()
    threads = asked.training().threads or 1
    use_threads(threads, torch_threads=1)
    data = read_data(alignment, trees, asked, threads, tell, SavedSampling(directory.before_training))
    if "made" in data.source:
        write_trprobs(data.sample, directory.path / "tree_sample.trprobs", describe_source(data.source["made"]))
    training = asked.training(data.fitted.posterior.n_parameters > 0)
    prior = data.fitted.posterior.topology_prior
    is_single = data.sample.tree_topology.size < 2
    share, warning = (None, None) if prior.fixed or is_single else _held_out(data.sample, asked, prior)
    started = time.perf_counter()
    problem, start = build_problem(
        data.fitted, _widened(data, asked), asked.model, asked.seed, growing=asked.support == "growing",
        effort=asked.start_effort,
    )  # fmt: skip
    setup_seconds = time.perf_counter() - started
    tell(Note(_describe(problem, data, f"start ({asked.model.init}) found in {setup_seconds:.1f} s")))
    missing = _missing(None if start is None else start.missing, data.source)
    if start is not None and missing is not None:
        tell(Note(f"{start.added:,} topologies added to the sample's; about {missing:.1g} of the posterior is missing"))
    if is_single and not prior.fixed:
        warning = _of_single_tree(problem)
    if warning:
        tell(Note(warning, warning=True))
    facts = {"held_out_coverage": share, "setup_seconds": setup_seconds, "mass_missing": missing}
    directory.update_summary({"commands": typed_commands(directory.read_summary()), **facts})
    # What was written is not read again: that would compile all that reads trees.
    of_sample = split_frequencies(data.sample.children, data.sample.weights) if "made" in data.source else None
    return Run(directory, _whole_config(alignment, data, asked, training), problem, of_sample)


def run_name(alignment: str | os.PathLike[str]) -> str:
    """What the run of an alignment is called by default: DS1.vbpi for DS1.nex.gz."""
    name = find_alignment(alignment).name
    return f"{Path(name.removesuffix('.gz')).stem}.vbpi"


def _of_single_tree(problem: PhyloProblem) -> str:
    """The warning where the sample is one tree: other topologies come from what was added, which lies near it."""
    support = problem.support
    if support.split_bits.shape[0] == 2 * support.n_taxa - 3:
        return "the tree sample is a single tree: the fit can find no other topology"
    return "the tree sample is a single tree: the fit can find no topologies but those near it"


def _held_out(sample: TreeSample, config: FitConfig, prior: TopologyPrior) -> tuple[float | None, str | None]:
    """How much of the sample a support built from part of it holds, and a warning where that is little."""
    found = held_out_coverage(sample, widen_topologies=0 if config.widen == "nni" else None, prior=prior)
    return found.share, found.warning()


def _missing(of_neighbours: float | None, source: dict[str, Any]) -> float | None:
    """About the share of the posterior that the support lacks, None where nobody looked for it.

    What neighbours have and, at least, what the sampler says that going on a little would have brought: the sample may lack
    trees that are next to none of those it has. source: of Data.
    """
    new = source.get("made", {}).get("new_mass")
    if of_neighbours is None or new is None or math.isnan(new):
        return of_neighbours
    return max(of_neighbours, float(new))


def _widened(data: Data, config: FitConfig) -> TreeSample:
    return widen_sample(data.sample, prior=data.fitted.posterior.topology_prior) if config.widen == "nni" else data.sample


def _describe(problem: PhyloProblem, data: Data, start: str) -> str:
    return (
        f"{data.alignment.extent}, {problem.n_patterns} patterns; {data.sample.tree_weights.size:,} trees, "
        f"{data.sample.weights.size:,} topologies, {problem.support.n_params:,} support elements; {start}"
    )


def _parameter_priors(data: Data) -> list[dict[str, str]]:
    """Of what each part learns, by name."""
    characters = data.fitted.posterior.characters
    return [{} for _ in data.fitted.parts] if characters is None else [part.model.priors for part in characters.parts]


def digest_of(alignment: str | os.PathLike[str] | Alignment) -> str:
    """SHA-256 of the file, or of names and states of an alignment in memory."""
    if not isinstance(alignment, Alignment):
        return sha256_of(find_alignment(alignment))
    states = np.ascontiguousarray(alignment.states)
    return hashlib.sha256("\n".join(alignment.taxa).encode() + states.tobytes()).hexdigest()


def _whole_config(
    alignment: str | os.PathLike[str] | Alignment, data: Data, config: FitConfig, training: TrainingConfig
) -> dict[str, Any]:
    """What config.yaml holds."""
    file = None if isinstance(alignment, Alignment) else str(alignment)
    characters = data.fitted.posterior.characters
    multipliers = None if characters is None else characters.multiplier_prior
    taxa, sites = data.alignment.states.shape
    return {
        "command": "fit",
        "target": describe_target(data.fitted.parts, data.fitted.posterior, config.model),
        "alignment": {"file": file, "taxa": taxa, "sites": sites, "sha256": digest_of(alignment), "type": config.type},
        "partitions": {"file": config.partitions, "partial": config.partitions_partial},
        "trees": {**data.source, "burn_in": data.burn_in, "hpd": config.hpd, "widen": config.widen, "support": config.support},
        "priors": {
            "lengths": data.fitted.posterior.branch_prior.text,
            "constraint": config.constraint,
            "fix_topology": config.fix_topology,
            **({} if multipliers is None else {"multipliers": multipliers}),
        },
        "parts": [
            {
                "name": part.name, "characters": part.patterns.alphabet.name, "sites": part.sites,
                "positions": None if part.places is None else site_ranges(part.places), "model": part.model,
                **({"priors": own} if own else {}),
            }
            for part, own in zip(data.fitted.parts, _parameter_priors(data), strict=True)
        ],
        "model": config.model.to_dict(),
        "training": training.to_dict(),
        "answer": {"draws": config.answer_draws, "outgroup": config.outgroup},
    }
