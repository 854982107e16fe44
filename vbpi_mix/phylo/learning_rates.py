"""How fast each group of parameters learns, by schedule, start and base density. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

# Of networks, branch features and flow (docs/development/log.md says how these were found). A flow's output is a sum over
# hundreds of weights, which all move at once.
WARM_RATES = {
    # What is learned with gamma lengths is the lengths; the networks start where training cannot take them.
    "gamma": {"sbn": 0.0001, "branches": 0.001, "flow": 0.0001},
    "lognormal": {"sbn": 0.003, "branches": 0.002, "flow": 0.0001},
}
# From branch lengths at random.
COLD_RATES = {"sbn": 0.002, "branches": 0.008, "flow": 0.0002}
# Of primary subsplit pairs, compared with splits: an edge that is seldom drawn then takes most of what is learned from
# its split, which is drawn more often (docs/flows.md).
PAIR_RATE = 0.2
# Of the densities of model parameters, which start as standard normals.
PARAMETER_RATE = 0.002
# Of the logits of mixture weights, which start alike.
WEIGHTS_RATE = 0.002


@dataclass(frozen=True)
class LearningRates:
    """learning_rate: of the networks, None for the schedule's own. multipliers: of the other parameter groups. pairs: of
    the rows of primary subsplit pairs, compared with those of splits.
    """

    learning_rate: float | None
    multipliers: dict[str, float]
    pairs: float


def learning_rates(
    schedule: str, flow: str, init: str, lengths: str, parameters: bool = False, weights: bool = False
) -> LearningRates:
    """Those of a schedule, a start and a base density; the published schedule has one rate for all. parameters: whether the
    substitution model has any. weights: whether those of the mixture are learned."""
    if schedule == "paper":
        return LearningRates(None, {}, 1.0)
    rates = WARM_RATES[lengths] if init == "warm" else COLD_RATES
    multipliers = {"branches": rates["branches"] / rates["sbn"]}
    if parameters:
        multipliers["model"] = PARAMETER_RATE / rates["sbn"]
    if weights:
        multipliers["weights"] = WEIGHTS_RATE / rates["sbn"]
    if flow != "none":
        multipliers |= dict.fromkeys(("flow", "flow biases"), rates["flow"] / rates["sbn"])
    return LearningRates(rates["sbn"], multipliers, PAIR_RATE)
