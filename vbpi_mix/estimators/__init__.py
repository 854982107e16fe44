"""The estimators of the mixture bound. Torch only: no trees, no images, no files."""

from vbpi_mix.estimators.bounds import (
    WarmUp,
    log_importance_weights,
    log_mixture_density,
    miselbo,
    pooled_estimate,
    published_estimate,
)
from vbpi_mix.estimators.components import (
    ComponentDraw,
    Estimator,
    draw_components,
    effective_components,
    inclusion_probabilities,
    outer_weights,
)
from vbpi_mix.estimators.gradients import (
    DirectObjective,
    LinearObjective,
    Objective,
    direct_vimco_objective,
    pathwise_objective,
    vimco_objective,
)
from vbpi_mix.estimators.interfaces import (
    DirectMixture,
    DirectTarget,
    Draws,
    Evaluated,
    Gradients,
    Parameterised,
    ScoredDraws,
    Target,
    TargetGradients,
    VariationalMixture,
    Weighted,
)
from vbpi_mix.estimators.reparameterised import GradientName, RestatedDraws, doubly_reparameterised_objective
from vbpi_mix.estimators.weights import StepWeights

__all__ = [
    "ComponentDraw",
    "DirectMixture",
    "DirectObjective",
    "DirectTarget",
    "Draws",
    "Estimator",
    "Evaluated",
    "GradientName",
    "Gradients",
    "LinearObjective",
    "Objective",
    "Parameterised",
    "RestatedDraws",
    "ScoredDraws",
    "StepWeights",
    "Target",
    "TargetGradients",
    "VariationalMixture",
    "WarmUp",
    "Weighted",
    "direct_vimco_objective",
    "doubly_reparameterised_objective",
    "draw_components",
    "effective_components",
    "inclusion_probabilities",
    "log_importance_weights",
    "log_mixture_density",
    "miselbo",
    "outer_weights",
    "pathwise_objective",
    "pooled_estimate",
    "published_estimate",
    "vimco_objective",
]
