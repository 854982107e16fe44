"""Two latent levels: the encoder q_r(z1|x, z2) and the generator p(z1|z2) of the lower one (Cookbook, hierarchical).

Shapes: A components, S sampled, R evaluated, K particles, B images, d latent dimensions of each level, n features, h hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from vbpi_mix.image.networks import (
    LOG_VARIANCE_RANGE,
    GatedFeatures,
    Gaussians,
    half_precision,
    standardise,
    uniform_parameter,
)
from vbpi_mix.image.spec import ModelSpec


class ComponentMap(nn.Module):
    """A linear layer of R components: a weight for each, or one for all and a code for each, which is a bias of its own.

    networks  A: a weight for each; 1: one for all     codes  A, or 0 for a layer that is the same for all components
    """

    def __init__(self, networks: int, codes: int, n_in: int, out: int) -> None:
        super().__init__()
        fan_in = n_in + codes
        self.weight = uniform_parameter((networks, out, n_in), fan_in)
        self.bias = uniform_parameter((networks, out), fan_in)
        self.code = uniform_parameter((codes, out), fan_in) if codes else None

    def offset(self, rows: Tensor | None) -> Tensor:
        """What is added for each component: [R or 1, 1 or B, out]; `rows` None, [R] or, of codes, [R, B]."""
        if self.code is None:
            return (self.bias if rows is None or len(self.bias) == 1 else self.bias[rows]).unsqueeze(1)
        code = self.code if rows is None else F.embedding(rows, self.code)
        return self.bias + (code if code.ndim == 3 else code.unsqueeze(1))

    def product(self, x: Tensor, rows: Tensor | None, columns: slice = slice(None)) -> Tensor:
        """The weight, or some of its columns, times x: [..., R or 1, B, n] -> [..., R or 1, B, out]."""
        weight = self.weight[:, :, columns]
        if len(weight) == 1:
            return F.linear(x, weight[0])
        weight = weight if rows is None else weight.index_select(0, rows)
        if x.shape[-3] == 1 < len(weight):
            x = x.expand(*x.shape[:-3], len(weight), *x.shape[-2:])
        return torch.einsum("...rbn,ron->...rbo", x, weight)

    def forward(self, x: Tensor, rows: Tensor | None) -> Tensor:
        """[..., R or 1, B, n] -> [..., R, B, out]."""
        return self.product(x, rows) + self.offset(rows)


class DenseFeatures(nn.Module):
    """Two gated dense layers of `networks` networks side by side, in place of convolutions."""

    def __init__(self, networks: int, pixels: int, hidden: int) -> None:
        super().__init__()
        sizes = ((pixels, 2 * hidden), (hidden, 2 * hidden))
        self.layers = nn.ModuleList([ComponentMap(networks, 0, n, out) for n, out in sizes])
        self.n_features = hidden

    def forward(self, images: Tensor, rows: Tensor | None = None) -> Tensor:
        """[B, C, H, W] -> [B, R, n]; `rows` [R] or None for all networks."""
        x = images.flatten(1).unsqueeze(0)
        for layer in self.layers:
            x = F.glu(layer(x, rows), -1)
        return x.transpose(0, 1)

    @torch.no_grad()
    def standardise(self, images: Tensor) -> None:
        """As GatedFeatures."""
        x = images.flatten(1).unsqueeze(0)
        for layer in self.layers:
            assert isinstance(layer, ComponentMap)
            standardise(layer.weight, layer.bias, layer(x, None).transpose(0, 1))
            x = F.glu(layer(x, None), -1)


class LowerEncoder(nn.Module):
    """q_r(z1|x, z2): gated convolutions of x and a gated dense layer of z2, n numbers each; a gated dense layer of both; heads.

    Separate encoders have all of this for each component. A shared one has it once, and the codes of the components
    enter the joint layer and the heads.
    """

    half_convolutions = False

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        A, shape = spec.components, spec.shape
        networks, codes = (A, 0) if spec.encoder == "separate" else (1, A)
        self.features = GatedFeatures(networks, shape.channels, (shape.height, shape.width), spec.lower_layers)
        n = self.features.n_features
        self.upper = ComponentMap(networks, 0, spec.latent, 2 * n)
        self.joint = ComponentMap(networks, codes, 2 * n, 2 * spec.hidden)
        self.mean = ComponentMap(networks, codes, spec.hidden, spec.latent)
        self.log_variance = ComponentMap(networks, codes, spec.hidden, spec.latent)

    def image_part(self, images: Tensor, rows: Tensor | None) -> Tensor:
        """What the joint layer makes of the images, whatever z2: [R or 1, B, 2 h]; `rows` as in LowerPosterior."""
        with half_precision(images, self.half_convolutions):
            h = self.features(images, rows if len(self.joint.weight) > 1 else None)
        n = self.features.n_features
        return self.joint.product(h.to(images.dtype).transpose(0, 1), rows, slice(0, n)) + self.joint.offset(rows)

    def forward(self, upper: Tensor, image_part: Tensor, rows: Tensor | None) -> Gaussians:
        """z2 [S, K, B, d] and `image_part` -> Gaussians [S, K, R, B, d]."""
        g = F.glu(self.upper(upper.unsqueeze(2), rows), -1)
        joint = self.joint.product(g, rows, slice(self.features.n_features, None)) + image_part
        hidden = F.glu(joint, -1)
        log_variance = F.hardtanh(self.log_variance(hidden, rows), *LOG_VARIANCE_RANGE)
        return Gaussians(self.mean(hidden, rows), log_variance)


@dataclass(frozen=True, eq=False)
class LowerPosterior:
    """q_r(z1|x, z2) of R components at B images.

    image_part  of `LowerEncoder`     rows  the components: None for all, [R], or for each image its own, [R, B]
    constants   parameters to take instead of the encoder's; None: those it has
    """

    encoder: LowerEncoder
    image_part: Tensor
    rows: Tensor | None
    constants: dict[str, Tensor] | None = None

    @classmethod
    def of(cls, encoder: LowerEncoder, images: Tensor, rows: Tensor | None) -> LowerPosterior:
        """That of some components. Where each image has its own, separate encoders are computed for all A."""
        computed = None if encoder.joint.code is None and rows is not None and rows.ndim == 2 else rows
        return cls(encoder, encoder.image_part(images, computed), rows)

    def __call__(self, upper: Tensor) -> Gaussians:
        """z2 [S, K, B, d] -> Gaussians [S, K, R, B, d]."""
        rows, chosen = self.rows, None
        if self.encoder.joint.code is None and rows is not None and rows.ndim == 2:
            rows, chosen = None, rows
        arguments = (upper, self.image_part, rows)
        if self.constants is None:
            q = self.encoder(*arguments)
        else:
            q = functional_call(self.encoder, self.constants, arguments)
        if chosen is None:
            return q
        return Gaussians(take_components(q.mean, chosen), take_components(q.log_variance, chosen))

    def constant(self) -> LowerPosterior:
        """The same, with parameters that take no gradient."""
        parameters = {name: value.detach() for name, value in self.encoder.named_parameters()}
        return LowerPosterior(self.encoder, self.image_part.detach(), self.rows, parameters)


def take_components(values: Tensor, rows: Tensor) -> Tensor:
    """Of [S, K, R, B, d] the components [R', B]: -> [S, K, R', B, d]."""
    S, K, _, B, d = values.shape
    return values.gather(2, rows.view(1, 1, -1, B, 1).expand(S, K, -1, -1, d))


def take_own(values: Tensor, own: Tensor) -> Tensor:
    """Of [S, K, R, B, d] the component of each sample, [S] or [S, B]: -> [S, K, B, d]."""
    S, K, _, B, d = values.shape
    index = own.view(S, 1, 1, -1, 1).expand(S, K, 1, B, d)
    return values.gather(2, index).squeeze(2)


class LowerPrior(nn.Module):
    """p(z1|z2) = N(mean(z2), variance(z2)): two gated dense layers of h, and two linear heads."""

    def __init__(self, d: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(d, 2 * hidden)
        self.second = nn.Linear(hidden, 2 * hidden)
        self.mean = nn.Linear(hidden, d)
        self.log_variance = nn.Linear(hidden, d)

    def forward(self, upper: Tensor) -> Gaussians:
        """z2 [..., d] -> mean and log-variance [..., d]."""
        y = F.glu(self.second(F.glu(self.first(upper), -1)), -1)
        return Gaussians(self.mean(y), F.hardtanh(self.log_variance(y), *LOG_VARIANCE_RANGE))
