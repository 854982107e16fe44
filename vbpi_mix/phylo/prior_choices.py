"""The priors that a fit was asked for: of branch lengths and of topologies, from its choices, and from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vbpi_mix.phylo.models.constraints import parse_constraints, split_constraints
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.priors import DEFAULT_LENGTHS, ExponentialLengths, LengthPrior, parse_length_prior
from vbpi_mix.phylo.models.topology_prior import TopologyPrior


@dataclass(frozen=True)
class Priors:
    """Of branch lengths and of topologies."""

    lengths: LengthPrior
    topologies: TopologyPrior

    @classmethod
    def default(cls, n_taxa: int) -> Priors:
        """Those of the benchmarks."""
        return cls(ExponentialLengths(), TopologyPrior(n_taxa))

    def describe(self) -> str:
        """What is not the default, in words; empty if nothing is."""
        words = [] if self.lengths.text == DEFAULT_LENGTHS else [f"branch lengths {self.lengths.text}"]
        if not self.topologies.free:
            words.append(describe_topologies(self.topologies))
        return ", ".join(words)


def describe_topologies(prior: TopologyPrior) -> str:
    """What a prior of topologies says, in words."""
    if prior.fixed:
        return "the topology is fixed"
    if prior.free:
        return "all topologies alike"
    return f"every topology has {len(prior.splits)} given split{'s' if len(prior.splits) > 1 else ''}"


def priors_of(
    taxa: Sequence[str], lengths: str = DEFAULT_LENGTHS, constraint: str = "", fix_topology: str | None = None
) -> Priors:
    """The priors of choices as they are written. taxa: in the order of the alignment.

    Raises ConfigError, in one line, for what is no density, and for constraints that cannot be read or contradict each other.
    """
    known = parse_constraints(split_constraints(constraint), taxa, fix_topology)
    return Priors(parse_length_prior(lengths), known)


def priors_state(posterior: Posterior) -> dict[str, Any]:
    """The priors of a posterior as plain data, for a checkpoint."""
    splits = [sorted(side) for side in posterior.topology_prior.splits]
    return {"lengths": posterior.branch_prior.text, "splits": splits}


def restore_priors(state: Mapping[str, Any] | None, n_taxa: int) -> Priors:
    """Those of `priors_state`; None, of a checkpoint from before there was a choice, is the default."""
    if state is None:
        return Priors.default(n_taxa)
    splits = [frozenset(side) for side in state["splits"]]
    return Priors(parse_length_prior(state["lengths"]), TopologyPrior.of(n_taxa, splits))
