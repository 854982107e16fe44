"""A problem of trees for the trainer: put together from alignment, tree sample and choices, or from a checkpoint.

The checkpoint holds the site patterns and the support beside the parameters, so that a run directory can be evaluated,
exported and compared wherever it is moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.estimators import Estimator
from vbpi_mix.phylo.branches.base import make_base
from vbpi_mix.phylo.branches.flows import make_flow
from vbpi_mix.phylo.branches.flows.contract import BranchFlow
from vbpi_mix.phylo.config import ModelConfig
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.parameters import ParameterDensity, ParameterStart
from vbpi_mix.phylo.parts import DataPart, as_tensor, parts_state, restore_parts
from vbpi_mix.phylo.prior_choices import priors_state, restore_priors
from vbpi_mix.phylo.sbn import networks as sbn
from vbpi_mix.phylo.sbn.support import SubsplitSupport, build_support
from vbpi_mix.phylo.sbn.support_check import check_support
from vbpi_mix.phylo.shared_posterior import shared_posterior
from vbpi_mix.phylo.start import WarmStart, warm_start
from vbpi_mix.phylo.tables import layout
from vbpi_mix.phylo.trees.neighbour_joining import neighbour_joining, pairwise_differences
from vbpi_mix.phylo.trees.sample import TreeSample
from vbpi_mix.sizes import check_memory
from vbpi_mix.training.mixture_problem import MixtureProblem

if TYPE_CHECKING:
    from vbpi_mix.phylo.parameter_start import ParameterMode

KIND = "phylo"
# A likelihood may take so much work (Posterior.work) for a start with the usual numbers of topologies and draws; a costlier
# one has fewer. GTR+G4 on DS1 takes 270,000.
WORK_OF_FULL_START = 270_000.0


@dataclass(frozen=True, eq=False)
class FittedData:
    """What a mixture is fitted to. theta: parameters of the model that are roughly right, [D], None for a model without any."""

    taxa: tuple[str, ...]
    parts: tuple[DataPart, ...]
    posterior: Posterior
    theta: np.ndarray | None = None


class PhyloProblem(MixtureProblem):
    """Trees: VIMCO with K particles; its state includes the data and the support."""

    def __init__(
        self,
        taxa: tuple[str, ...],
        parts: Sequence[DataPart],
        posterior: Posterior,
        mixture: PhyloMixture,
        model: ModelConfig,
    ) -> None:
        """posterior: of these parts. model: resolved choices, of which estimator, S and K are taken here."""
        assert model.sampled is not None
        super().__init__(
            KIND, posterior, mixture, estimator=Estimator.parse(model.estimator),
            sampled=model.sampled, particles=model.particles, direct=True,
        )  # fmt: skip
        self.taxa = taxa
        self.parts = tuple(parts)
        self.posterior = posterior
        self.support = mixture.support
        self.trees = mixture

    @property
    def n_patterns(self) -> int:
        """Site patterns of all parts."""
        return sum(part.patterns.weights.size for part in self.parts)

    def state_dict(self) -> Mapping[str, Any]:
        """Parameters, taxa, the parts of the data and support."""
        return {
            **super().state_dict(),
            "taxa": list(self.taxa),
            "parts": parts_state(self.parts),
            "priors": priors_state(self.posterior),
            "support": support_state(self.support),
        }


def build_problem(
    data: FittedData, sample: TreeSample, model: ModelConfig, seed: int, growing: bool = True, effort: float = 1.0
) -> tuple[PhyloProblem, WarmStart | None]:
    """Support, start and mixture as the resolved choices of a model say; and the warm start, if it is one.

    growing: whether a warm start adds topologies that the sample lacks. effort: how much work it does, of what is usual.
    """
    base, posterior = make_base(model.lengths or "gamma"), data.posterior
    mode = parameter_mode(posterior, sample, seed, data.theta)
    # Trees and lengths are approximated with the model's parameters held, which then are learned with them.
    held = posterior.at(None if mode is None else mode.theta)
    support, start, logits, features = None, None, None, None
    effort *= _effort(held)
    if model.init == "warm":
        start = warm_start(
            sample, held, base, model.components, np.random.default_rng(seed),
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
    assert model.sampled is not None
    needed = model.least_memory(model.sampled, support.n_taxa, support.n_params)
    check_memory(needed, f"A={model.components:,}, S={model.sampled:,}, K={model.particles:,} on this support")
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
        parameters=_densities(posterior, support, model, generator, mode),
        side_by_side=layout(model.components, model.estimator != Estimator.S2S),
        learn_weights=model.weights == "learned",
    )
    return PhyloProblem(data.taxa, data.parts, posterior, mixture, model), start


def _effort(held: Posterior) -> float:
    """Share of the usual numbers of topologies and draws that a start can afford."""
    return min(1.0, WORK_OF_FULL_START / held.work)


def parameter_mode(
    posterior: Posterior, sample: TreeSample, seed: int, theta: np.ndarray | None = None
) -> ParameterMode | None:
    """The best parameters of a model, from theta [D] on, on probable topologies of a sample; None if it has none."""
    if posterior.n_parameters == 0:
        return None
    from vbpi_mix.phylo.models.joint import JointPosterior
    from vbpi_mix.phylo.parameter_start import find_mode, probable_topologies

    assert isinstance(posterior, JointPosterior)
    held = posterior.at(theta)
    best = probable_topologies(held, sample.children, sample.weights, _effort(held))
    return find_mode(posterior, sample.children[best], np.random.default_rng(seed), theta)


def rough_parameters(posterior: Posterior, parts: Sequence[DataPart], seed: int) -> np.ndarray | None:
    """Parameters of a model that will do to look for trees, [D]: the best on a tree by neighbour joining; None without any."""
    if posterior.n_parameters == 0:
        return None
    from vbpi_mix.phylo.models.joint import JointPosterior
    from vbpi_mix.phylo.parameter_start import find_mode

    assert isinstance(posterior, JointPosterior)
    if posterior.topology_prior.free:
        tree = neighbour_joining(pairwise_differences([(part.patterns.states, part.patterns.weights) for part in parts]))
    else:
        (tree,) = posterior.topology_prior.draw(1, np.random.default_rng(seed))
    return find_mode(posterior, tree[None], np.random.default_rng(seed)).theta


def _densities(
    posterior: Posterior,
    support: SubsplitSupport,
    model: ModelConfig,
    generator: torch.Generator,
    mode: ParameterMode | None = None,
) -> ParameterDensity | None:
    """Of the model's parameters, around their mode where it is known; None if there are none."""
    if posterior.n_parameters == 0:
        return None
    from vbpi_mix.phylo.models.joint import JointPosterior
    from vbpi_mix.phylo.parameter_start import parameter_start

    assert isinstance(posterior, JointPosterior)
    start: ParameterStart | None = None
    if mode is not None:
        start = parameter_start(posterior, mode, support)
    return ParameterDensity(posterior.characters.blocks, support.n_splits, model.components, generator, start)


def restore_problem(state: Mapping[str, Any], model: ModelConfig) -> PhyloProblem:
    """The problem of a checkpoint's state. KeyError, TypeError or AttributeError if a part of it is missing; CheckpointError
    if it is of another model."""
    taxa = tuple(state["taxa"])
    parts = restore_parts(state)
    support = restore_support(state["support"])
    posterior = shared_posterior(parts, model, restore_priors(state.get("priors"), len(taxa)))
    assert model.pair_rate is not None
    mixture = PhyloMixture(
        support,
        model.components,
        generator=torch.Generator(),
        branch_model=model.branch,
        flow=_flow(model, support, torch.Generator()),
        base=make_base(model.lengths or "lognormal"),
        pair_rate=model.pair_rate,
        parameters=_densities(posterior, support, model, torch.Generator()),
        side_by_side=layout(model.components, model.estimator != Estimator.S2S),
        learn_weights=model.weights == "learned",
    )
    mixture.load_state_dict(state)
    return PhyloProblem(taxa, parts, posterior, mixture, model)


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
            state[name] = as_tensor(value)
    return state


def restore_support(state: Mapping[str, Any]) -> SubsplitSupport:
    """The support of `support_state`. Raises KeyError if an array is missing, SupportError if one is not that of a support."""
    arrays = {
        name: state[name].numpy() if isinstance(state[name], Tensor) else state[name]
        for name in SubsplitSupport.__dataclass_fields__
    }
    arrays["split_bits"] = arrays["split_bits"].view(np.uint64)
    support = SubsplitSupport(**arrays)
    check_support(support)
    return support
