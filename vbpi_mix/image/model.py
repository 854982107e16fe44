"""An image model: encoder q_j(z|x) of A components, decoder p(x|z); prior N(0, I).

Shapes: A components, S sampled, K particles, R evaluated, B images, d latent dimensions, C x H x W an image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vbpi_mix.image.spec import ModelSpec


@dataclass(frozen=True)
class Gaussians:
    """Diagonal Gaussians over the latent space, float32 (or float64): mean and log_variance [R, B, d].

    log_variance lies in LOG_VARIANCE_RANGE; where it sits on either end it has no gradient.
    """

    mean: Tensor
    log_variance: Tensor


class ImageModel(nn.Module):
    """Encoder and decoder. Make one with `build_model`.

    In training mode (`.train()`) and evaluation mode (`.eval()`) it differs only under norm batch: metrics are
    computed in evaluation mode.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec

    @property
    def device(self) -> torch.device:
        """Where the parameters are; images and latents are to be there too."""
        return next(self.parameters()).device

    def encode(self, images: Tensor, components: Tensor | None = None) -> Gaussians:
        """Gaussians of `components` at images [B, C, H, W].

        components  None: all A, in order. [R]: these, for every image. [R, B]: these, for each image its own.
        """
        raise NotImplementedError

    def decoder_output(self, images: Tensor, z: Tensor) -> Tensor:
        """What the likelihood of each pixel is made of: [S, K, B, P, H, W] from images [B, C, H, W], z [S, K, B, d].

        Bernoulli: P = 1, the logit of pixel one. Discretised logistic: P = 10 x logistics, as `likelihoods` says.
        The output at a pixel depends on the pixels before it in raster order only, so images are sampled by filling in
        pixel by pixel (colour: red, green, blue of each pixel in turn, from one output).
        """
        raise NotImplementedError

    def decode_log_likelihood(self, images: Tensor, z: Tensor) -> Tensor:
        """log p(x|z), [S, K, B], summed over pixels: images [B, C, H, W], z [S, K, B, d].

        Bernoulli images hold 0 and 1; discretised-logistic ones hold k / 255. Without gradients it works in chunks, so that
        memory does not grow with S K B. Under norm batch each (s, k) is a batch of its own.
        """
        raise NotImplementedError

    def parameter_counts(self, depth: int = 2) -> dict[str, int]:
        """Parameters by module, `depth` names deep (encoder.features, ...), in order, and their "total"."""
        raise NotImplementedError

    def accelerate(self, *, compiled: bool = False, bfloat16: bool = False) -> None:
        """torch.compile for encoder and decoder, and bfloat16 for their convolutions.

        All densities stay in float32. Neither changes the parameters, their names, or any result beyond rounding.
        """
        raise NotImplementedError


def build_model(spec: ModelSpec, generator: torch.Generator | None = None) -> ImageModel:
    """The model of a specification with fresh parameters (PyTorch's default start), all from `generator`.

    Without a generator the parameters are to be loaded: their values are of no account. The global random state is left
    as it was.
    """
    raise NotImplementedError
