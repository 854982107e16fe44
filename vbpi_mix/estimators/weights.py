"""Learned mixture weights in a step that carries gradients back without a graph.

With pi the softmax of A logits, B_s the bound of a sampled component and c_s = pi_s / kappa_s what it counts
(`outer_weights`; Hotti et al. 2024, Theorem B.1), the bound sum_s c_s B_s depends on the logits twice: through pi in
every denominator, and through c. Of the latter,

    sum_s (grad c_s) B_s,

is unbiased, but says mostly which components were drawn: a B of minus seven thousand nats is added to the slope of one
logit now and of another then, while the components differ by a tenth of a nat. With numbers e_a that were known before
the draw it has the same mean as

    sum_s (grad c_s) (B_s - e_s) + sum_a (grad pi_a) e_a,

since each component is drawn with probability kappa_a, and only what e_a misses is noise. Where all components are
drawn, and in S2S, whose c are normalised over the subset, a common level cancels by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vbpi_mix.estimators.components import ComponentDraw, Estimator, outer_weights

# What a new bound of a component counts in the running mean of its bounds.
SHARE_OF_NEW = 0.1


@dataclass(frozen=True, eq=False)
class StepWeights:
    """The mixture weights as a step finds them; their values do not change when the logits do.

    logits         [A], the leaf
    log_evaluated  [R] log weights of the evaluated components, normalised over them
    outer          [S] what each sampled component counts
    weights        [A]
    sampled        [S]
    expected       [A] what the bound of each component is about, None where a common level cancels by itself
    """

    logits: Tensor
    log_evaluated: Tensor
    outer: Tensor
    weights: Tensor
    sampled: Tensor
    expected: Tensor | None

    @staticmethod
    def of(
        estimator: Estimator, draw: ComponentDraw, logits: Tensor, inclusion: Tensor | None, expected: Tensor | None
    ) -> StepWeights:
        """Of the logits [A], a leaf, and the design of the draw; errors as `outer_weights`."""
        outer = outer_weights(estimator, draw, logits, inclusion)
        assert outer is not None
        log_evaluated = torch.log_softmax(logits[draw.evaluated], 0)
        return StepWeights(logits, log_evaluated, outer, torch.softmax(logits, 0), draw.sampled, expected)

    def pull_back(self, inner: Tensor, bounds: Tensor) -> Tensor:
        """Minus the gradient of the bound in the logits, [A].

        inner   [R] minus its derivative in each of `log_evaluated`
        bounds  [S] of the sampled components
        """
        with torch.enable_grad():
            loss = (inner * self.log_evaluated).sum()
            if self.expected is None:
                loss = loss - (bounds * self.outer).sum()
            else:
                surprise = bounds - self.expected[self.sampled]
                loss = loss - (surprise * self.outer).sum() - (self.expected * self.weights).sum()
            (found,) = torch.autograd.grad(loss, self.logits, retain_graph=True)
        return found

    def expected_next(self, bounds: Tensor) -> Tensor | None:
        """`expected` with the bounds [S] of this step counted in."""
        if self.expected is None:
            return None
        step = SHARE_OF_NEW * (bounds - self.expected[self.sampled])
        return self.expected.index_add(0, self.sampled, step)
