"""A tree sample from nothing but an alignment: our own sampler, or another program, and which of them to
take.

`auto` takes our own sampler, which covered more of the golden runs in a minute than what a user may have
installed (docs/tree-samples.md has the table), and is always there; the others are taken when asked for.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vbpi_mix import __version__
from vbpi_mix.errors import ConfigError, TreeError
from vbpi_mix.files import write_whole
from vbpi_mix.phylo.data.alignment import Alignment
from vbpi_mix.phylo.data.site_patterns import compress
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.topology_prior import TopologyPrior
from vbpi_mix.phylo.sampling.program_parts import ProgramParts
from vbpi_mix.phylo.sampling.programs import UFBOOT_REPLICATES, ProgramRun, run_iqtree, run_mrbayes
from vbpi_mix.phylo.sampling.sampler import McmcOptions, McmcReport, McmcResult, check_sampling, sample_trees
from vbpi_mix.phylo.sampling.saved import SavedSampling
from vbpi_mix.phylo.trees.nexus import trprobs
from vbpi_mix.phylo.trees.sample import TreeSample

SOURCES = ("auto", "mcmc", "mrbayes", "iqtree")
DEFAULT_SECONDS = 60.0
_SETTINGS = ("temperatures", "heating", "regraft_share", "local_share", "climb", "steps", "keep")
DEFAULT_CHAINS = 2
DEFAULT_ASDSF = 0.01
FIXED = "fixed topology"


def check_source(posterior: Posterior, source: str, chains: int = DEFAULT_CHAINS) -> None:
    """ConfigError, with the estimate, if `obtain_tree_sample` would run more chains of mcmc than the memory holds."""
    if _maker(posterior.topology_prior, source) == "mcmc":
        check_sampling(posterior, chains)


def _maker(known: TopologyPrior, source: str) -> str:
    """What makes the trees that `source` stands for."""
    if source != "auto":
        return source
    return FIXED if known.fixed else "mcmc"


def obtain_tree_sample(
    alignment: Alignment,
    source: str = "auto",
    *,
    posterior: Posterior | None = None,
    seconds: float | None = None,
    generations: int | None = None,
    chains: int = DEFAULT_CHAINS,
    asdsf: float | None = DEFAULT_ASDSF,
    until: str = "weights",
    replicates: int = UFBOOT_REPLICATES,
    seed: int = 0,
    threads: int = 1,
    parts: ProgramParts | None = None,
    progress: Callable[[McmcReport], None] | None = None,
    saved: SavedSampling | None = None,
) -> tuple[TreeSample, dict[str, Any]]:
    """Make a tree sample of an alignment.

    source: one of SOURCES. posterior: of this alignment, which all but bootstrap trees are a sample of, and whose constraints
    all trees honour; JC69 and the default priors if not given. A fixed topology is the sample itself, unless mcmc is asked for
    its branch lengths. seconds: what the samplers may take (60 unless generations are given), after which
    their trees so far are used; for IQ-TREE a limit, after which it has failed (none by default).
    generations: of each chain of mcmc or mrbayes, instead. chains: independent runs of mcmc or mrbayes;
    asdsf: they end when theirs is at most this. until: what those of mcmc are to reach, "weights" or, for a fit,
    "coverage" (McmcOptions). replicates: bootstrap trees of iqtree. parts: of the alignment, with
    the models that mrbayes and iqtree are to use in place of the posterior's. progress: called with
    reports of mcmc. saved: from where mcmc goes on (sample_trees).

    Returns the sample and what made it, as plain data: `source`, `program`, `version`, `options`, `seconds`,
    `trees`, `topologies`; of samplers also `generations`, `asdsf` and `agreed` where known, of mcmc `agreement`,
    `weight_error`, `new_mass` and `rising`. Raises
    ConfigError for options out of range, ProgramError if a program is missing, fails or takes too long.
    """
    if source not in SOURCES:
        raise ConfigError(f"trees from {source!r}: choose one of {', '.join(SOURCES)}, or give tree files")
    if seconds is not None and not seconds > 0:
        raise ConfigError(f"seconds={seconds}: the time to sample must be above 0")
    options: dict[str, Any] = {"seed": seed}
    posterior = posterior or Posterior(compress(alignment))
    known = posterior.topology_prior
    made_by = _maker(known, source)
    if known.fixed and source in ("mrbayes", "iqtree"):
        raise ConfigError(f"trees from {source}: the topology is fixed, so that no sample is needed; leave it out")
    started = time.perf_counter()
    if made_by == FIXED:
        run = _fixed(known, alignment.taxa)
    elif made_by == "iqtree":
        options |= {"replicates": replicates, "seconds": seconds}
        run = run_iqtree(
            alignment, replicates=replicates, seed=seed, seconds=seconds, model=posterior.model, topology_prior=known,
            parts=parts,
        )  # fmt: skip
    else:
        if seconds is None and generations is None:
            seconds = DEFAULT_SECONDS
        options |= {"chains": chains, "seconds": seconds, "generations": generations, "asdsf": asdsf}
        if made_by == "mcmc":
            options["until"] = until
        if made_by == "mrbayes":
            run = run_mrbayes(
                alignment, posterior, runs=chains, generations=generations, asdsf=asdsf, seed=seed, seconds=seconds, parts=parts
            )
            if asdsf is not None and "asdsf" in run.facts:
                run.facts["agreed"] = run.facts["asdsf"] <= asdsf
        else:
            run = _run_mcmc(posterior, alignment.taxa, McmcOptions(
                seconds=seconds, generations=generations, until=until, asdsf=asdsf, runs=chains, seed=seed, threads=threads
            ), progress, saved)  # fmt: skip
    sample, dropped = known.restrict(run.sample)
    facts = {
        "source": made_by,
        "asked_for": source,
        "options": options,
        "seconds": round(time.perf_counter() - started, 1),
        "trees": int(sample.tree_topology.size),
        "topologies": int(sample.weights.size),
        **({"dropped": dropped} if dropped else {}),
        **run.facts,
    }
    return sample, facts


def describe_source(facts: dict[str, Any]) -> str:
    """One line on how a sample was made, whether its chains agreed, and whether they had arrived."""
    text = f"{facts['source']} ({facts['version']}), seed {facts['options']['seed']}"
    if "generations" in facts:
        text += f", {facts['generations']:,} generations"
    if facts.get("asdsf") is not None:
        text += f", ASDSF {facts['asdsf']:.4f}"
    if facts.get("dropped"):
        text += f", {facts['dropped']:,} trees dropped, which break a constraint"
    options = facts["options"]
    if facts.get("rising"):
        text += "; the log posterior was still rising: give more seconds"
    elif facts.get("agreed") is False and options.get("until") == "coverage":
        text += "; the budget ended while new trees were still found: give more seconds"
    elif facts.get("agreed") is False and options["asdsf"] is not None:
        text += "; the budget ended before the chains agreed: give more seconds"
    return text


def write_trprobs(sample: TreeSample, path: str | os.PathLike[str], remark: str = "") -> None:
    """Write topologies and their weights, whole or not at all. Raises TreeError if the file cannot be written."""
    text = trprobs(sample.children, sample.weights, sample.taxa, f"vbpi-mix {__version__}; {remark}")
    write_whole(Path(path), text, TreeError)


def _fixed(prior: TopologyPrior, taxa: tuple[str, ...]) -> ProgramRun:
    """The one topology that there is."""
    one = np.ones(1)
    children = prior.draw(1, np.random.default_rng(0))
    sample = TreeSample(taxa, children, one, np.zeros(1, np.int32), one, None, (FIXED,))
    return ProgramRun(sample, {"program": "vbpi-mix", "version": f"vbpi-mix {__version__}"})


def _run_mcmc(
    posterior: Posterior,
    taxa: tuple[str, ...],
    options: McmcOptions,
    progress: Callable[[McmcReport], None] | None,
    saved: SavedSampling | None,
) -> ProgramRun:
    result = sample_trees(posterior, taxa, options, progress, saved)
    return ProgramRun(result.sample, _mcmc_facts(result, options.for_taxa(posterior.n_taxa)))


def _mcmc_facts(result: McmcResult, options: McmcOptions) -> dict[str, Any]:
    """Plain data; the options that are not those of obtain_tree_sample as well."""
    settings = dataclasses.asdict(options)
    known = {
        "generations": result.generations,
        "sampling_seconds": round(result.seconds, 1),
        "agreed": result.agreed,
        "rising": result.rising,
        "weight_error": result.convergence.weight_error,
        "new_mass": result.convergence.new_mass,
        "acceptance": {name: round(share, 4) for name, share in result.acceptance.items()},
        "settings": {name: settings[name] for name in _SETTINGS},
        "trace": [[round(value, 2) for value in row] for row in result.trace],
    }
    if options.runs > 1:
        known |= {"asdsf": result.asdsf, "agreement": result.convergence.agreement}
    return {"program": "vbpi-mix", "version": f"vbpi-mix {__version__}", **known}
