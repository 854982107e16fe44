"""A cell model: A encoders q_a(z|x), one decoder p(x|z, library); prior N(0, I). The networks of scVI (Lopez et al. 2018).

    encoder a   log(1 + x): G -> h, batch normalisation, ReLU, dropout; linear heads h -> d for mean and log v, variance v + 1e-4
    decoder     z: d -> h, ReLU; linear heads h -> G: softmax share of the library, dropout logits; one log theta for each gene

Encoders see other cells of a batch in training only; in evaluation mode they use stored statistics, and the decoder sees no other
cell ever, so that log p(x|z) is that of one cell by itself.

Shapes: A components, S sampled, K particles, B cells, G genes, d latent dimensions, h hidden units.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vbpi_mix.cells.zinb import zinb_log_likelihood
from vbpi_mix.image.networks import Gaussians, uniform_parameter
from vbpi_mix.options import check_options, option

NORM_MOMENTUM, NORM_EPSILON = 0.01, 1e-3
MIN_LOG_VARIANCE = math.log(1e-4)


@dataclass(frozen=True)
class ModelSpec:
    """Sizes of one model. ConfigError if a value is out of range.

    components  A
    genes       G
    latent      d
    hidden      h, of encoders and decoder
    dropout     share of hidden units that an encoder loses in training
    """

    components: int = option(1, least=1)
    genes: int = option(1200, least=1)
    latent: int = option(10, least=1)
    hidden: int = option(128, least=1)
    dropout: float = option(0.1, least=0.0, most=0.99)

    def __post_init__(self) -> None:
        check_options(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for YAML and for checkpoints."""
        return asdict(self)


class CellEncoders(nn.Module):
    """A encoders side by side; all A Gaussians of a batch are computed at once."""

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        A, G, h, d = spec.components, spec.genes, spec.hidden, spec.latent
        self.dropout = spec.dropout
        self.weight, self.bias = uniform_parameter((A, h, G), G), uniform_parameter((A, 1, h), G)
        self.norm_scale, self.norm_shift = nn.Parameter(torch.ones(A, 1, h)), nn.Parameter(torch.zeros(A, 1, h))
        self.mean_weight, self.mean_bias = uniform_parameter((A, d, h), h), uniform_parameter((A, 1, d), h)
        self.variance_weight, self.variance_bias = uniform_parameter((A, d, h), h), uniform_parameter((A, 1, d), h)
        self.register_buffer("running_mean", torch.zeros(A, 1, h))
        self.register_buffer("running_variance", torch.ones(A, 1, h))

    def forward(self, counts: Tensor, generator: torch.Generator | None = None) -> Gaussians:
        """[A, B, d] Gaussians at counts [B, G]. generator: of dropout, needed in training mode."""
        hidden = torch.matmul(torch.log1p(counts), self.weight.mT) + self.bias
        hidden = self._drop(torch.relu(self._normalised(hidden)), generator)
        log_v = torch.baddbmm(self.variance_bias, hidden, self.variance_weight.mT)
        log_variance = torch.logaddexp(log_v, torch.full_like(log_v, MIN_LOG_VARIANCE))
        return Gaussians(torch.baddbmm(self.mean_bias, hidden, self.mean_weight.mT), log_variance)

    def _normalised(self, hidden: Tensor) -> Tensor:
        """By the statistics of the batch in training, which move the stored ones; else by those."""
        if not self.training:
            mean, variance = self.running_mean, self.running_variance
        else:
            variance, mean = torch.var_mean(hidden, 1, unbiased=False, keepdim=True)
            cells = hidden.shape[1]
            with torch.no_grad():
                self.running_mean.lerp_(mean, NORM_MOMENTUM)
                self.running_variance.lerp_(variance * (cells / max(1, cells - 1)), NORM_MOMENTUM)
        return (hidden - mean) * torch.rsqrt(variance + NORM_EPSILON) * self.norm_scale + self.norm_shift

    def _drop(self, hidden: Tensor, generator: torch.Generator | None) -> Tensor:
        if not self.training or self.dropout == 0.0:
            return hidden
        kept = torch.rand(hidden.shape, generator=generator) >= self.dropout
        return hidden * kept / (1.0 - self.dropout)


class CellDecoder(nn.Module):
    """From latents to the parameters of every gene's count."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.hidden = nn.Linear(spec.latent, spec.hidden)
        self.scale, self.dropout = nn.Linear(spec.hidden, spec.genes), nn.Linear(spec.hidden, spec.genes)
        self.log_theta = nn.Parameter(torch.randn(spec.genes))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Log share of the library and dropout logits, [..., G], of latents [..., d]."""
        hidden = torch.relu(self.hidden(z))
        return torch.log_softmax(self.scale(hidden), -1), self.dropout(hidden)


class CellModel(nn.Module):
    """Encoders and decoder. Make one with `build_model`."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = CellEncoders(spec)
        self.decoder = CellDecoder(spec)

    def decode_log_likelihood(self, counts: Tensor, z: Tensor) -> Tensor:
        """log p(x|z, library), [S, K, B], of counts [B, G] and latents [S, K, B, d]; each cell's library is its sum of counts."""
        log_share, dropout_logits = self.decoder(z)
        log_mean = torch.log(counts.sum(-1, keepdim=True)) + log_share
        return zinb_log_likelihood(counts, log_mean, self.decoder.log_theta, dropout_logits)

    def parameter_counts(self) -> dict[str, int]:
        """Parameters of encoders and decoder, and their "total"."""
        counts = {
            name: sum(parameter.numel() for parameter in part.parameters())
            for name, part in (("encoder", self.encoder), ("decoder", self.decoder))
        }
        return {**counts, "total": sum(counts.values())}


def build_model(spec: ModelSpec, generator: torch.Generator | None = None) -> CellModel:
    """The model of a specification with fresh parameters, all from `generator`; without one they are to be loaded.

    Layers start as PyTorch's do, log theta standard normal. The global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        seed = 0 if generator is None else int(torch.randint(2**62, (), generator=generator))
        torch.default_generator.manual_seed(seed)
        return CellModel(spec)
