"""Decoders p(x|z): a PixelCNN for grey images, gated masked layers for colour ones, dense layers for pixels by themselves.

Shapes: N decoder samples (an image with a latent each), d latent dimensions of a
level, D of all levels, C x H x W an image, P outputs per pixel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbpi_mix.image.masked import MaskedConvolution, make_norm
from vbpi_mix.image.networks import half_precision
from vbpi_mix.image.spec import ModelSpec


class GreyDecoder(nn.Module):
    """Latents become a plane by a gated dense layer, one for each level; a PixelCNN reads image and planes; one logit per pixel.

    The mask applies to all channels, as published: pixel (0, 0) never sees z.
    """

    half_convolutions = False

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        shape, width = spec.shape, spec.pixel_channels
        self._plane = (1, shape.height, shape.width)
        self.projection = nn.Linear(spec.latent, 2 * shape.height * shape.width)
        self.upper_projection = nn.Linear(spec.latent, 2 * shape.height * shape.width) if spec.levels == 2 else None
        layers: list[nn.Module] = []
        for index in range(spec.pixel_layers):
            layers.append(MaskedConvolution(1 + spec.levels if index == 0 else width, width, sees_itself=index > 0))
            layers.append(make_norm(spec.norm, width, spec.paper_compat))
        self.layers = nn.ModuleList(layers)
        self.output = nn.Conv2d(width, 1, 1)

    def forward(self, images: Tensor, z: Tensor) -> Tensor:
        """[N, 1, H, W], [N, D] -> logits [N, 1, H, W]."""
        return self.pixels(images, self.context(z))

    def context(self, z: Tensor) -> Tensor:
        """All that pixels see of z: [N, D] -> [N, levels, H, W]."""
        if self.upper_projection is None:
            return F.glu(self.projection(z), 1).unflatten(1, self._plane)
        projections = zip((self.projection, self.upper_projection), z.chunk(2, 1), strict=True)
        return torch.cat([F.glu(layer(part), 1).unflatten(1, self._plane) for layer, part in projections], 1)

    def pixels(self, images: Tensor, context: Tensor) -> Tensor:
        """Logits of all pixels, or of a window of them, given the context there."""
        y = torch.cat([images, context], 1)
        with half_precision(y, self.half_convolutions):
            for convolution, norm in zip(self.layers[::2], self.layers[1::2], strict=True):
                y = torch.relu(norm(convolution(y)))
        return self.output(y.to(images.dtype))


class DenseDecoder(nn.Module):
    """Two gated dense layers of the latent and a linear one: a logit for each pixel, whatever the other pixels are."""

    half_convolutions = False

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self._sizes = spec.shape.sizes
        self.projection = nn.Linear(spec.dimensions, 2 * spec.hidden)
        self.hidden = nn.Linear(spec.hidden, 2 * spec.hidden)
        self.output = nn.Linear(spec.hidden, spec.shape.pixels)

    def forward(self, images: Tensor, z: Tensor) -> Tensor:
        """[N, 1, H, W], [N, D] -> logits [N, 1, H, W]."""
        return self.pixels(images, self.context(z))

    def context(self, z: Tensor) -> Tensor:
        """The logits: [N, D] -> [N, 1, H, W]."""
        y = F.glu(self.hidden(F.glu(self.projection(z), 1)), 1)
        return self.output(y).unflatten(1, self._sizes)

    def pixels(self, images: Tensor, context: Tensor) -> Tensor:
        """Logits of all pixels, or of a window of them, given the context there."""
        return context


class GatedMaskedLayer(nn.Module):
    """tanh(norm(h * y) + m) . sigmoid(norm(g * y) + m), h and g masked convolutions, m the latent's map."""

    def __init__(self, spec: ModelSpec, channels: int, sees_itself: bool) -> None:
        super().__init__()
        width = spec.pixel_channels
        self.value = MaskedConvolution(channels, width, sees_itself)
        self.gate = MaskedConvolution(channels, width, sees_itself)
        self.value_norm = make_norm(spec.norm, width, spec.paper_compat)
        self.gate_norm = make_norm(spec.norm, width, spec.paper_compat)

    def forward(self, y: Tensor, m: Tensor) -> Tensor:
        """[N, in, H, W], [N, width, H, W] -> [N, width, H, W]."""
        value = self.value_norm(self.value(y)) + m
        gate = self.gate_norm(self.gate(y)) + m
        return torch.tanh(value) * torch.sigmoid(gate)


class ColourDecoder(nn.Module):
    """Latents become a map of the image's size by transposed convolutions, and gate masked layers over the image.

    The map is not masked: every pixel sees all of z. Colours of one pixel depend on one another through the likelihood.
    """

    half_convolutions = False

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        shape, width = spec.shape, spec.pixel_channels
        self._start = (width, shape.height // 8, shape.width // 8)
        # The published code keeps this tensor outside of its parameters: it is neither trained nor saved there.
        self.projection = nn.Linear(spec.dimensions, width * self._start[1] * self._start[2], bias=False)
        self.upsampling = nn.ModuleList(
            [nn.ConvTranspose2d(width, width, 3, stride=2, padding=1, output_padding=1) for _ in range(3)]
        )
        channels = [shape.channels] + [width] * (spec.pixel_layers - 1)
        self.layers = nn.ModuleList(
            [GatedMaskedLayer(spec, n, sees_itself=index > 0) for index, n in enumerate(channels)]
        )
        self.output = nn.Conv2d(width, 10 * spec.logistics, 1)

    def forward(self, images: Tensor, z: Tensor) -> Tensor:
        """[N, 3, H, W] in [0, 1], [N, D] -> [N, P, H, W]."""
        return self.pixels(images, self.context(z))

    def context(self, z: Tensor) -> Tensor:
        """All that pixels see of z: [N, D] -> [N, width, H, W]."""
        m = self.projection(z).unflatten(1, self._start)
        with half_precision(z, self.half_convolutions):
            for upsample in self.upsampling:
                m = torch.relu(upsample(m))
        return m.to(z.dtype)

    def pixels(self, images: Tensor, context: Tensor) -> Tensor:
        """Outputs of all pixels, or of a window of them, given the context there."""
        y = images
        with half_precision(y, self.half_convolutions):
            for layer in self.layers:
                y = layer(y, context)
        return self.output(y.to(images.dtype))
