"""Image models whose evidence is known in closed form: pixels are N(W z + b, s^2) and p(z1|z2) is linear."""

from __future__ import annotations

import torch
from tiny_models import tiny_spec

from vbpi_mix.image.model import ImageModel

PARTS = {"lower_layers": ((3, 3, 1),), "hidden": 4, "flow_hidden": 6, "pseudo_inputs": 3}
DEVIATION = 1.0


class LinearGaussianModel(ImageModel):
    """Encoder, flow and prior of the specification; another decoder."""

    def __init__(self, spec):
        super().__init__(spec)
        self.weight = torch.randn(spec.shape.pixels, spec.dimensions, dtype=torch.float64) * 0.7
        self.offset = torch.randn(spec.shape.pixels, dtype=torch.float64)

    def decode_log_likelihood(self, images, z):
        mean = z @ self.weight.T + self.offset
        return torch.distributions.Normal(mean, DEVIATION).log_prob(images.flatten(1)).sum(-1)


def linear_gaussian_model(A=3, d=2, seed=4, **parts):
    """Components that differ, and none much narrower than the posterior."""
    torch.manual_seed(seed)
    model = LinearGaussianModel(tiny_spec(A, d, **{**PARTS, **parts})).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("code"):
                parameter.mul_(3.0)
            if name in ("encoder.log_variance.layers.2.bias", "lower_encoder.log_variance.bias", "encoder.log_variance.bias"):
                parameter.add_(0.5)
        if model.flow is not None:
            for step in model.flow.steps:  # gates near 1 keep the width
                step.layers[-1].bias[:d] += 3.0
        if model.upper_prior is not None:
            model.upper_prior.mean.add_(0.3)
            model.upper_prior.log_variance.sub_(0.2)
        if model.lower_prior is not None:  # gates of 1 and one variance: linear in z2
            for layer in (model.lower_prior.first, model.lower_prior.second):
                half = len(layer.bias) // 2
                layer.weight[half:] = 0.0
                layer.bias[half:] = 50.0
            model.lower_prior.log_variance.weight.zero_()
    return model.eval()


def gaussian_images(model, B, seed=8):
    """Any real numbers, [B, 1, 2, 2]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((B, *model.spec.shape.sizes), generator=generator, dtype=torch.float64)


def upper_gaussians(model):
    """Means and variances [N, d] of the prior of the upper level, or of the only one."""
    d = model.spec.latent
    if model.pseudo_inputs is not None:
        q = model.encode(model.pseudo_inputs())
        return q.mean.flatten(0, 1), q.log_variance.flatten(0, 1).exp()
    if model.upper_prior is not None:
        return model.upper_prior.mean, model.upper_prior.log_variance.exp()
    return torch.zeros(1, d, dtype=torch.float64), torch.ones(1, d, dtype=torch.float64)


def exact_log_evidence(model, images):
    """log p(x), [B]: a mixture of Gaussians."""
    d = model.spec.latent
    parts = []
    with torch.no_grad():
        for mean, variance in zip(*upper_gaussians(model), strict=True):
            covariance = torch.diag(variance)
            if model.lower_prior is not None:
                at_zero = model.lower_prior(torch.zeros(d, dtype=torch.float64))
                slope = (model.lower_prior(torch.eye(d, dtype=torch.float64)).mean - at_zero.mean).T
                first = slope @ covariance @ slope.T + torch.diag(at_zero.log_variance.exp())
                across = slope @ covariance
                covariance = torch.cat([torch.cat([first, across], 1), torch.cat([across.T, covariance], 1)])
                mean = torch.cat([slope @ mean + at_zero.mean, mean])
            W = model.weight
            of_pixels = W @ covariance @ W.T + DEVIATION**2 * torch.eye(len(W), dtype=torch.float64)
            normal = torch.distributions.MultivariateNormal(W @ mean + model.offset, of_pixels)
            parts.append(normal.log_prob(images.flatten(1)))
    stacked = torch.stack(parts)
    return torch.logsumexp(stacked, 0) - torch.log(torch.tensor(float(len(stacked)), dtype=torch.float64))
