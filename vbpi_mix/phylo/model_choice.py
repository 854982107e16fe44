"""Evidence of several substitution models for one alignment, from one tree sample and with one budget for each."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.config import FitConfig
from vbpi_mix.phylo.data.alignment import Alignment
from vbpi_mix.phylo.fit import fit
from vbpi_mix.phylo.inputs import Progress, Trees, read_data, read_fitted, read_parts, say_nothing
from vbpi_mix.phylo.models.strings import parse_model
from vbpi_mix.phylo.parts import applicable
from vbpi_mix.phylo.trees.sample import TreeSample
from vbpi_mix.training.provenance import use_threads
from vbpi_mix.training.reports import Note


@dataclass(frozen=True)
class ModelEvidence:
    """What a model is worth. log_evidence: log p(Y) by importance sampling, None if no draw has any weight, with its Monte
    Carlo error; log_bayes_factor: of this model to the best of those tried, at most 0. parameters: free ones of the model.
    verdict: whether the weights can be relied on.
    """

    model: str
    parameters: int
    log_evidence: float | None
    error: float | None
    log_bayes_factor: float | None
    pareto_k: float | None
    verdict: str
    seconds: float


def compare_models(
    alignment: str | os.PathLike[str] | Alignment,
    models: Sequence[str],
    trees: Trees = None,
    *,
    config: FitConfig | None = None,
    progress: Progress | None = None,
    **choices: Any,
) -> tuple[ModelEvidence, ...]:
    """Fit an alignment under each of several models, the best first in the answer.

    All fits have the same topologies to start from: those of `trees`, or of a sample made under the last model, which should
    be the richest. config and choices: as `fit` takes them, the same for all; priors and links are for those models that have
    use for them. ConfigError for fewer than two models, one that is there twice, or a prior that none has use for.

    >>> import vbpi_mix
    >>> found = vbpi_mix.compare_models("examples/eight.nex", ["JC69", "HKY"], "examples/eight.nwk", iterations=20, threads=1)
    >>> sorted(each.model for each in found), max(each.log_bayes_factor for each in found)
    (['HKY', 'JC69'], 0.0)
    """
    if len(models) < 2:
        raise ConfigError("models to compare: name at least two, such as JC,HKY,GTR+G4")
    asked = FitConfig.of(config, **choices)
    tell = progress or say_nothing
    configs = _configs(alignment, models, asked)
    # Every model is read before the first is fitted.
    for each in configs:
        read_fitted(alignment, each, say_nothing)
    threads = asked.training().threads or 1
    use_threads(threads, torch_threads=1)
    sample = read_data(alignment, trees, configs[-1], threads, tell).sample
    found = [_evidence(alignment, sample, each, tell) for each in configs]
    return ranked(found)


def ranked(found: Sequence[ModelEvidence]) -> tuple[ModelEvidence, ...]:
    """The best first, with Bayes factors to it; those whose evidence is unknown come last, without."""
    known = [each.log_evidence for each in found if each.log_evidence is not None]
    best = max(known, default=0.0)
    against = [_against(each, best) for each in found]
    return tuple(
        sorted(against, key=lambda each: -float("inf") if each.log_evidence is None else each.log_evidence, reverse=True)
    )


def _configs(
    alignment: str | os.PathLike[str] | Alignment, models: Sequence[str], asked: FitConfig
) -> list[FitConfig]:
    """A configuration for each model, with the priors and links that it has use for; each of them must be of use to one."""
    configs: dict[tuple[str, ...], FitConfig] = {}
    for model in models:
        config = FitConfig.of(asked, substitution=model)
        _, parts = read_parts(alignment, config, say_nothing)
        same = tuple(parse_model(part.model, part.patterns.alphabet).text for part in parts)
        if same in configs:
            raise ConfigError(f"model {model}: it is the same as {configs[same].model.substitution}; name each once")
        configs[same] = replace(config, model=applicable(config.model, parts))
    made = list(configs.values())
    for name in asked.model.priors():
        if not any(name in each.model.priors() for each in made):
            raise ConfigError(f"prior {name}: none of the models learns {name}; leave it out")
    for name in asked.model.shared():
        if not any(name in each.model.shared() for each in made):
            raise ConfigError(f"link {name}: under none of the models do two parts have {name} to share; leave it out")
    return made


def _evidence(
    alignment: str | os.PathLike[str] | Alignment, sample: TreeSample, config: FitConfig, tell: Progress
) -> ModelEvidence:
    """Of one model, the sample's topologies at hand."""
    model = config.model.substitution or ""
    tell(Note(f"fitting under {model}"))
    started = time.perf_counter()
    run = fit(alignment, sample, config=config, progress=tell)
    facts = run.summary
    value = next(each for each in facts["marginal_log_likelihood"] if each["form"] == "weighted")
    return ModelEvidence(
        model, run.target.n_parameters, value["mean"], value["error"], None, facts["pareto_k"], facts["verdict"],
        time.perf_counter() - started,
    )  # fmt: skip


def _against(found: ModelEvidence, best: float) -> ModelEvidence:
    factor = None if found.log_evidence is None else found.log_evidence - best
    return replace(found, log_bayes_factor=factor)
