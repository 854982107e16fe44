"""An image model and its data, as the trainer sees them.

Which images make up iteration t follows from (seed, t) alone, and all other randomness (binarisation, components, noise)
is the generator's, so a resumed run goes on bit for bit. Under a process group (torchrun) every rank draws the random
numbers of the whole batch and takes its own images, and gradients are averaged: training is that of one process up to
the order of sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from vbpi_mix.estimators import Estimator, Objective
from vbpi_mix.image.model import ImageModel

PhiPer = Literal["point", "batch"]


class ImageProblem:
    """Raise MISELBO of a model on images with S of A components; KL warm-up by beta.

    model              on the device to train on
    training_images    [N, C, H, W], grey values in [0, 1], or uint8 to be divided by 255. Under the Bernoulli likelihood
                       each iteration draws pixels 0 or 1 with these probabilities.
    validation_images  [M, C, H, W], used as they are: binarised once, beforehand, under the Bernoulli likelihood
    sampled            S; may be None for A2A
    importance_samples L, averaged inside the logarithm
    phi_per            "point": a subset of components for each image; "batch": one for all of them, as published
    batch_size         images of an iteration, of all ranks together; what is left over of an epoch is dropped, and another
                       permutation leaves others over
    seed               of the order of the images

    ConfigError if these do not fit together.
    """

    kind = "image"
    metric_names = ("miselbo", "reconstruction", "kl", "clamped")

    def __init__(
        self,
        model: ImageModel,
        training_images: Tensor,
        validation_images: Tensor,
        *,
        estimator: Estimator,
        sampled: int | None,
        importance_samples: int = 1,
        phi_per: PhiPer = "point",
        batch_size: int = 100,
        seed: int = 1,
    ) -> None:
        self.model = model
        # [A] how many images each component was trained on as a sampled one.
        self.component_counts = torch.zeros(model.spec.components, dtype=torch.int64)

    @property
    def iterations_per_epoch(self) -> int:
        """N // batch_size: an epoch of the command line is so many iterations of the trainer."""
        raise NotImplementedError

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Two groups, "encoder" and "decoder"."""
        raise NotImplementedError

    def objective(self, iteration: int, beta: float, generator: torch.Generator) -> Objective:
        """Bound and gradient on the batch of iteration t >= 1."""
        raise NotImplementedError

    def validate(self, iteration: int, generator: torch.Generator) -> dict[str, float]:
        """At beta = 1, in evaluation mode, over all validation images, with S components drawn for each and all A in the
        denominator whatever the training estimator, L as in training.

        miselbo; reconstruction, mean of log p(x|z); kl, mean of log q(z|x) - log p(z) (at L = 1 miselbo is their
        difference); clamped, the fraction of log-variances at either end of their range. Natural logarithms, per image.
        """
        raise NotImplementedError

    def state_dict(self) -> Mapping[str, Any]:
        """{"model": the model's state, "component_counts": [A]}."""
        return {"model": self.model.state_dict(), "component_counts": self.component_counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same model, in place."""
        self.model.load_state_dict(state["model"])
        self.component_counts.copy_(state["component_counts"])
