"""An image model: encoder q_j(z|x) of A components, decoder p(x|z), prior p(z); with two latent levels or a flow if it is to be.

Shapes: A components, S sampled, K particles, R evaluated, B images, d latent dimensions of a level, D of all, C x H x W an image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vbpi_mix.devices import send
from vbpi_mix.image.decoders import ColourDecoder, DenseDecoder, GreyDecoder
from vbpi_mix.image.flow import AutoregressiveFlow
from vbpi_mix.image.levels import DenseFeatures, LowerEncoder, LowerPosterior, LowerPrior
from vbpi_mix.image.likelihoods import bernoulli_log_likelihood, discretised_logistic_log_likelihood
from vbpi_mix.image.networks import GatedFeatures, Gaussians, SeparateEncoders, SharedEncoder
from vbpi_mix.image.posterior import Posterior
from vbpi_mix.image.priors import (
    GaussianMixture,
    LearnedGaussian,
    Prior,
    PseudoInputs,
    StandardNormal,
    TwoLevels,
    flatten_gaussians,
)
from vbpi_mix.image.resnet import N_FEATURES, ResNet20
from vbpi_mix.image.spec import ModelSpec

# Most pixels that one call of the decoder works on. In main memory, 64 channels of them take 10 MB: far larger tensors come
# fresh from the operating system each time, which takes as long as the arithmetic.
PIXELS_AT_ONCE = {"cpu": 40_000, "cuda": 4_000_000}


class ImageModel(nn.Module):
    """Encoder and decoder, and what a specification adds to them. Make one with `build_model`.

    In training mode (`.train()`) and evaluation mode (`.eval()`) it differs only under norm batch: metrics are
    computed in evaluation mode. Under paper_compat the two modes are the same.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder: SharedEncoder | SeparateEncoders = _make_encoder(spec)
        grey = spec.likelihood == "bernoulli"
        self.decoder = _make_decoder(spec)
        self._log_likelihood = bernoulli_log_likelihood if grey else discretised_logistic_log_likelihood
        d, two = spec.latent, spec.levels == 2
        self.lower_encoder = LowerEncoder(spec) if two else None
        self.lower_prior = LowerPrior(d, spec.hidden) if two else None
        self.flow = AutoregressiveFlow(d, spec.flow_hidden, spec.flow_steps) if spec.flow == "iaf" else None
        self.upper_prior = LearnedGaussian(d) if spec.prior == "learned" else None
        self.pseudo_inputs = PseudoInputs(spec.pseudo_inputs, spec.shape) if spec.prior == "vamp" else None

    @property
    def device(self) -> torch.device:
        """Where the parameters are; images and latents are to be there too."""
        return self.decoder.projection.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters, and of all densities."""
        return self.decoder.projection.weight.dtype

    def encode(self, images: Tensor, components: Tensor | None = None) -> Gaussians:
        """Gaussians of `components` at images [B, C, H, W], of the upper level where there are two.

        components  None: all A, in order. [R]: these, for every image. [R, B]: these, for each image its own.
        """
        return self.encoder(images, components if components is None else send(components, images.device))

    def posterior(self, images: Tensor, components: Tensor | None = None) -> Posterior:
        """q_r(z|x) of `components` at images [B, C, H, W]; see `encode`."""
        rows = components if components is None else send(components, images.device)
        lower = None if self.lower_encoder is None else LowerPosterior.of(self.lower_encoder, images, rows)
        return Posterior(self.encoder(images, rows), lower, self.flow)

    def prior(self) -> Prior:
        """p(z), as the parameters are now."""
        upper: Prior = StandardNormal(self.spec.latent)
        if self.upper_prior is not None:
            upper = GaussianMixture(self.upper_prior.mean, self.upper_prior.log_variance)
        if self.pseudo_inputs is not None:
            upper = flatten_gaussians(self.encoder(self.pseudo_inputs(), None))
        return upper if self.lower_prior is None else TwoLevels(upper, self.lower_prior)

    def standardise_encoder(self, images: Tensor) -> None:
        """Rescale the (upper) encoder so that the results of its layers, and at last the means, have variance 1 over images.

        images [N, C, H, W] in [0, 1]. PyTorch's start makes the results of each gated layer four times more alike than what
        it is given, so that the means of different images differ by a thousandth.
        """
        images = send(images, self.device, self.dtype)
        if isinstance(self.encoder.features, GatedFeatures | DenseFeatures):  # a ResNet normalises by itself
            self.encoder.features.standardise(images)
        self.encoder.standardise_means(images)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Two groups for the optimiser, "encoder" (with the flow) and "decoder" (with the prior)."""
        parts: dict[str, tuple[nn.Module | None, ...]] = {
            "encoder": (self.encoder, self.lower_encoder, self.flow),
            "decoder": (self.decoder, self.lower_prior, self.upper_prior, self.pseudo_inputs),
        }
        return [
            {"name": name, "params": [p for module in modules if module is not None for p in module.parameters()]}
            for name, modules in parts.items()
        ]

    def decoder_output(self, images: Tensor, z: Tensor) -> Tensor:
        """What the likelihood of each pixel is made of: [S, K, B, P, H, W] from images [B, C, H, W], z [S, K, B, D].

        Bernoulli: P = 1, the logit of pixel one. Discretised logistic: P = 10 x logistics, as `likelihoods` says.
        The output at a pixel depends on the pixels before it in raster order only, so images are sampled by filling in
        pixel by pixel (colour: red, green, blue of each pixel in turn, from one output).
        """
        return self._over_samples(lambda x, output: output, images, z)

    def decode_log_likelihood(self, images: Tensor, z: Tensor) -> Tensor:
        """log p(x|z), [S, K, B], summed over pixels: images [B, C, H, W], z [S, K, B, D].

        Bernoulli images hold 0 and 1; discretised-logistic ones hold k / 255. It works in chunks, so that without
        gradients memory does not grow with S K B. Under norm batch each (s, k) is a batch of its own.
        """
        return self._over_samples(self._log_likelihood, images, z)

    def _over_samples(self, function: Callable[[Tensor, Tensor], Tensor], images: Tensor, z: Tensor) -> Tensor:
        """function(images [N, C, H, W], output [N, P, H, W]) of all decoder samples: [S, K, B, ...]."""
        B = len(images)
        latents = z.flatten(0, 2)
        parts = []
        for part in torch.arange(len(latents), device=z.device).split(self._samples_at_once(len(latents), B)):
            x = images.index_select(0, part % B)
            parts.append(function(x, self.decoder(x, latents.index_select(0, part))))
        return torch.cat(parts).unflatten(0, z.shape[:3])

    def _samples_at_once(self, samples: int, B: int) -> int:
        """Decoder samples of one call."""
        if self.spec.norm == "batch" and (self.training or self.spec.paper_compat):
            return B  # what shares a call shares its statistics; published: one component for all images
        if self.device.type != "cpu" and torch.is_grad_enabled():
            return samples  # all is kept for the backward pass anyway
        pixels = self.spec.shape.height * self.spec.shape.width
        return max(1, PIXELS_AT_ONCE.get(self.device.type, PIXELS_AT_ONCE["cpu"]) // pixels)

    def parameter_counts(self, depth: int = 2) -> dict[str, int]:
        """Parameters by module, `depth` names deep (encoder.features, ...), in order, and their "total"."""
        counts: Counter[str] = Counter()
        for name, parameter in self.named_parameters():
            counts[".".join(name.split(".")[:depth])] += parameter.numel()
        return {**counts, "total": counts.total()}

    def accelerate(self, *, compiled: bool = False, bfloat16: bool = False) -> None:
        """torch.compile for encoder and decoder, and bfloat16 for their convolutions.

        All densities stay in float32. Neither changes the parameters, their names, or any result beyond rounding.
        """
        self.encoder.half_convolutions = self.decoder.half_convolutions = bfloat16
        if self.lower_encoder is not None:
            self.lower_encoder.half_convolutions = bfloat16
        if compiled:
            self.encoder.compile()
            self.decoder.compile()


def build_model(spec: ModelSpec, generator: torch.Generator | None = None) -> ImageModel:
    """The model of a specification with fresh parameters (PyTorch's default start), all from `generator`.

    Without a generator the parameters are to be loaded: their values do not matter. The global random state is left
    as it was.
    """
    with torch.random.fork_rng(devices=[]):
        seed = 0 if generator is None else int(torch.randint(2**62, (), generator=generator))
        torch.default_generator.manual_seed(seed)  # not those of other devices
        return ImageModel(spec)


def _make_decoder(spec: ModelSpec) -> GreyDecoder | ColourDecoder | DenseDecoder:
    if spec.decoder == "dense":
        return DenseDecoder(spec)
    return GreyDecoder(spec) if spec.likelihood == "bernoulli" else ColourDecoder(spec)


def _make_encoder(spec: ModelSpec) -> SharedEncoder | SeparateEncoders:
    A, d, shape = spec.components, spec.latent, spec.shape
    if spec.features == "resnet20":
        return SharedEncoder(ResNet20(spec.norm, spec.paper_compat), N_FEATURES, A, d, spec.residual)
    networks = 1 if spec.encoder == "shared" else A
    features: GatedFeatures | DenseFeatures
    if spec.features == "dense":
        features = DenseFeatures(networks, shape.pixels, spec.hidden)
    else:
        features = GatedFeatures(networks, shape.channels, (shape.height, shape.width), spec.feature_layers)
    if spec.encoder == "separate":
        return SeparateEncoders(features, A, d)
    return SharedEncoder(features, features.n_features, A, d, spec.residual)
