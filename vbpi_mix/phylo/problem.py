"""A problem of trees for the trainer: put together from alignment, tree sample and choices, or from a checkpoint.

The checkpoint holds the site patterns and the support beside the parameters, so that a run directory can be evaluated,
exported and compared wherever it is moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.estimators import Estimator
from vbpi_mix.phylo.branches.base import make_base
from vbpi_mix.phylo.branches.flows import make_flow
from vbpi_mix.phylo.branches.flows.contract import BranchFlow
from vbpi_mix.phylo.config import ModelConfig
from vbpi_mix.phylo.data.alignment import Alignment
from vbpi_mix.phylo.data.alphabets import alphabet_of_name
from vbpi_mix.phylo.data.site_patterns import SitePatterns, compress
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.prior_choices import Priors, priors_state, restore_priors
from vbpi_mix.phylo.sbn import networks as sbn
from vbpi_mix.phylo.sbn.support import SubsplitSupport, build_support
from vbpi_mix.phylo.start import WarmStart, warm_start
from vbpi_mix.phylo.trees.sample import TreeSample
from vbpi_mix.training.mixture_problem import MixtureProblem

KIND = "phylo"


class PhyloProblem(MixtureProblem):
    """Trees: VIMCO with K particles; its state includes the data and the support."""

    def __init__(
        self,
        taxa: tuple[str, ...],
        patterns: SitePatterns,
        posterior: Posterior,
        mixture: PhyloMixture,
        model: ModelConfig,
    ) -> None:
        """posterior: of these patterns. model: resolved choices, of which estimator, S and K are taken here."""
        assert model.sampled is not None
        super().__init__(
            KIND, posterior, mixture, estimator=Estimator.parse(model.estimator),
            sampled=model.sampled, particles=model.particles, direct=True,
        )  # fmt: skip
        self.taxa = taxa
        self.patterns = patterns
        self.posterior = posterior
        self.support = mixture.support
        self.trees = mixture

    def state_dict(self) -> Mapping[str, Any]:
        """Parameters, taxa, site patterns, priors and support."""
        return {
            **super().state_dict(),
            "taxa": list(self.taxa),
            "states": _as_tensor(self.patterns.states),
            "weights": torch.from_numpy(self.patterns.weights),
            "alphabet": [self.patterns.alphabet.name, self.patterns.alphabet.symbols],
            "priors": priors_state(self.posterior),
            "support": support_state(self.support),
        }


def posterior_of(patterns: SitePatterns, priors: Priors) -> Posterior:
    """The posterior that a fit approximates, when it begins and when it is loaded: the one place that says which."""
    return Posterior(patterns, branch_prior=priors.lengths, topology_prior=priors.topologies)


def build_problem(
    alignment: Alignment, sample: TreeSample, model: ModelConfig, seed: int, growing: bool = True, effort: float = 1.0,
    priors: Priors | None = None,
) -> tuple[PhyloProblem, WarmStart | None]:
    """Support, start and mixture as the resolved choices of a model say; and the warm start, if it is one.

    growing: whether a warm start adds topologies that the sample lacks. effort: how much work it does, of what is usual.
    priors: the default ones if not given.
    """
    patterns, base = compress(alignment), make_base(model.lengths or "gamma")
    posterior = posterior_of(patterns, priors or Priors.default(len(alignment.taxa)))
    support, start, logits, features = None, None, None, None
    if model.init == "warm":
        start = warm_start(
            sample, posterior, base, model.components, np.random.default_rng(seed),
            split_only=model.branch == "split", growing=growing, effort=effort,
        )  # fmt: skip
        support, logits, features = start.support, start.logits, start.features
    else:
        support = build_support(sample.children)
        if model.init != "flat":
            fitted = sbn.fit_simple_average if model.init == "average" else sbn.fit_em
            logits = fitted(support, support.encode(sample.children), sample.weights)
    generator = torch.Generator().manual_seed(seed)
    assert model.pair_rate is not None
    mixture = PhyloMixture(
        support,
        model.components,
        generator=generator,
        branch_model=model.branch,
        logits=logits,
        features=features,
        flow=_flow(model, support, generator),
        base=base,
        pair_rate=model.pair_rate,
    )
    return PhyloProblem(alignment.taxa, patterns, posterior, mixture, model), start


def restore_problem(state: Mapping[str, Any], model: ModelConfig) -> PhyloProblem:
    """The problem of a checkpoint's state. KeyError, TypeError or AttributeError if a part of it is missing; CheckpointError
    if it is of another model."""
    taxa = tuple(state["taxa"])
    # Runs from before there were others are of nucleotides.
    alphabet = alphabet_of_name(*state.get("alphabet", ("dna", "")))
    states = state["states"].numpy().view(alphabet.dtype)
    patterns = SitePatterns(states, state["weights"].numpy(), alphabet)
    support = restore_support(state["support"])
    assert model.pair_rate is not None
    mixture = PhyloMixture(
        support,
        model.components,
        generator=torch.Generator(),
        branch_model=model.branch,
        flow=_flow(model, support, torch.Generator()),
        base=make_base(model.lengths or "lognormal"),
        pair_rate=model.pair_rate,
    )
    mixture.load_state_dict(state)
    posterior = posterior_of(patterns, restore_priors(state.get("priors"), len(taxa)))
    return PhyloProblem(taxa, patterns, posterior, mixture, model)


def _flow(model: ModelConfig, support: SubsplitSupport, generator: torch.Generator) -> BranchFlow | None:
    return make_flow(
        model.flow, support, generator, model.flow_layers, model.flow_hidden, split_only=model.branch == "split"
    )


def support_state(support: SubsplitSupport) -> dict[str, Any]:
    """A support as tensors and numbers; the bit sets of splits as int64."""
    state: dict[str, Any] = {"n_taxa": support.n_taxa}
    for name in SubsplitSupport.__dataclass_fields__:
        value = getattr(support, name)
        if isinstance(value, np.ndarray):
            state[name] = _as_tensor(value)
    return state


def _as_tensor(values: np.ndarray) -> Tensor:
    """An array as a tensor; bit sets of 64 as int64, since not every version of PyTorch has uint64."""
    return torch.from_numpy(values.view(np.int64) if values.dtype == np.uint64 else values)


def restore_support(state: Mapping[str, Any]) -> SubsplitSupport:
    """The support of `support_state`. Raises KeyError if an array is missing."""
    arrays = {
        name: state[name].numpy() if isinstance(state[name], Tensor) else state[name]
        for name in SubsplitSupport.__dataclass_fields__
    }
    arrays["split_bits"] = arrays["split_bits"].view(np.uint64)
    return SubsplitSupport(**arrays)
