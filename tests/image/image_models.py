"""Small models and images for the tests of this room."""

import torch

from vbpi_mix.image.model import build_model
from vbpi_mix.image.spec import ImageShape, preset

TINY_PARTS = {"lower_layers": ((4, 3, 2), (3, 3, 1)), "hidden": 5, "flow_hidden": 7, "pseudo_inputs": 3}
TINY_GREY = {
    "latent": 4, "feature_layers": ((4, 3, 1), (6, 3, 2), (3, 3, 1)), "pixel_channels": 6, "pixel_layers": 3, **TINY_PARTS,
}  # fmt: skip
TINY_COLOUR = {"shape": ImageShape(3, 8, 8), "latent": 5, "pixel_channels": 6, "logistics": 3, **TINY_PARTS}


def grey_model(A=3, seed=1, dtype=torch.float64, **changes):
    spec = preset("digits", A, **{**TINY_GREY, **changes})
    return build_model(spec, torch.Generator().manual_seed(seed)).to(dtype)


def colour_model(A=3, seed=1, dtype=torch.float64, **changes):
    spec = preset("cifar10", A, **{**TINY_COLOUR, **changes})
    return build_model(spec, torch.Generator().manual_seed(seed)).to(dtype)


def images_for(model, B, seed=2):
    """Random images of the model's shape and likelihood."""
    C, H, W = model.spec.shape.sizes
    levels = torch.randint(256, (B, C, H, W), generator=torch.Generator().manual_seed(seed))
    if model.spec.likelihood == "bernoulli":
        return (levels > 127).to(model.dtype)
    return levels.to(model.dtype) / 255.0


def spread_out(model, size=1.0, seed=3):
    """Make components differ visibly: codes of a fresh encoder are small."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for net in (model.encoder.mean, model.encoder.log_variance):
            code = net.layers[-1].code
            code.copy_(size * torch.randn(code.shape, generator=generator, dtype=code.dtype))
    return model
