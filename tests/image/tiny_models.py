"""Models small enough for exact answers."""

from __future__ import annotations

import torch

from vbpi_mix.image.model import build_model
from vbpi_mix.image.spec import ImageShape, ModelSpec


def tiny_spec(A=3, d=1, **changes):
    """2 x 2 binary pixels, or 8 x 8 coloured ones."""
    values = {
        "shape": ImageShape(1, 2, 2), "components": A, "latent": d, "feature_layers": ((4, 3, 1),), "pixel_channels": 8,
        "pixel_layers": 2,
    }  # fmt: skip
    return ModelSpec(**{**values, **changes})


def tiny_model(A=3, d=1, seed=0, **changes):
    """Fresh parameters, scaled so that latents matter to pixels, components differ, and none is narrower than the prior."""
    model = build_model(tiny_spec(A, d, **changes), torch.Generator().manual_seed(seed))
    with torch.no_grad():
        model.decoder.projection.weight.mul_(4.0)
        for name, parameter in model.encoder.named_parameters():
            if name.endswith("code"):
                parameter.mul_(2.0 if "variance" in name else 4.0)
            if name == "log_variance.layers.2.bias":
                parameter.add_(1.2)
    return model.eval()


def all_images():
    """The 16 images of 2 x 2 binary pixels, [16, 1, 2, 2]."""
    bits = torch.arange(16).unsqueeze(1) >> torch.arange(4)
    return (bits & 1).float().view(16, 1, 2, 2)


def exact_log_evidence(model, images):
    """log p(x) of a model with one or two latent dimensions, by the trapezoidal rule on [-9, 9]: [N]."""
    line = torch.linspace(-9.0, 9.0, 181)
    d = model.spec.latent
    z = torch.cartesian_prod(*[line] * d).view(-1, d)
    step = d * torch.log(line[1] - line[0]).double()
    log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(z.double()).sum(1)
    with torch.no_grad():
        points = z.view(1, -1, 1, d).expand(1, len(z), len(images), d)
        log_likelihood = model.decode_log_likelihood(images, points)[0].double()
    return torch.logsumexp(log_likelihood + log_prior.unsqueeze(1), 0) + step
