"""Models and cells small enough for exact answers."""

from __future__ import annotations

import torch

from vbpi_mix.cells.model import ModelSpec, build_model


def tiny_model(A=3, genes=4, latent=1, seed=1, hidden=5, dropout=0.1):
    """Double precision; latents matter to counts, components differ, and stored statistics are not those of a start."""
    model = build_model(ModelSpec(A, genes, latent, hidden, dropout), torch.Generator().manual_seed(seed)).double()
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        for parameter in (model.decoder.hidden.weight, model.decoder.scale.weight):
            parameter.mul_(2.0)
        model.encoder.mean_bias.copy_(torch.randn(A, 1, latent, generator=generator))
        model.encoder.running_mean.copy_(torch.randn(A, 1, hidden, generator=generator))
        model.encoder.running_variance.copy_(torch.rand(A, 1, hidden, generator=generator) + 0.5)
    return model.eval()


def tiny_counts(cells=6, genes=4, seed=2):
    """Counts [cells, genes], half of them zeros; no cell without any."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.poisson(torch.full((cells, genes), 2.5), generator=generator)
    counts *= torch.rand(cells, genes, generator=generator) < 0.6
    counts[:, 0] += counts.sum(1) == 0
    return counts.double()
