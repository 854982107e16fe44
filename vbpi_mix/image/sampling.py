"""Images drawn from a model: pixel by pixel, each from its distribution given the latent and the pixels before it.

Shapes: N images, C x H x W pixels, d latent dimensions of a level, D of all levels, A components, P decoder outputs of a pixel.

A pixel depends on the image only through the window of `reach` rows above it and `reach` columns to either side, so only
that window is decoded. Beyond the window's inner edges layers see zeros where there are pixels, which changes nothing
that reaches the pixel; its edges on the border of the image are those of the image. Only under batch statistics
(paper_compat) do all pixels matter, and whole images are decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vbpi_mix.image.likelihoods import colour_means, logistic_parameters
from vbpi_mix.image.model import ImageModel

# Keeps logits of uniform numbers finite.
SMALLEST_UNIFORM = 1e-6
LEVELS = 255.0


@dataclass(frozen=True)
class Panels:
    """What `vbpi-mix image sample` shows, values in [0, 1].

    prior            [n, C, H, W] samples of p(z) p(x|z)
    originals        [m, C, H, W] test images
    components       [a, m, C, H, W]: row a is drawn from p(x|z) with z from q_a(z|x) of each original: samples of what
                     component a stands for, over the test images
    shown            which components the rows are
    reconstructions  [m, C, H, W]: likewise, with a component drawn at random for each image
    """

    prior: Tensor
    originals: Tensor
    components: Tensor
    shown: tuple[int, ...]
    reconstructions: Tensor


def draw_panels(
    model: ImageModel,
    originals: Tensor,
    prior_samples: int,
    shown: tuple[int, ...],
    generator: torch.Generator,
    progress: Callable[[int, int], None] | None = None,
) -> Panels:
    """All panels at once: originals [m, C, H, W]. The model is put into evaluation mode.

    `progress` is told how many pixels are done, and of how many.
    """
    model.eval()
    m, d = len(originals), model.spec.latent
    with torch.no_grad():
        posterior = model.posterior(originals.to(model.device))
        q = posterior.gaussians
        rows = [*(torch.full((m,), a) for a in shown), torch.randint(model.spec.components, (m,), generator=generator)]
        which = torch.stack(rows).to(model.device)
        images = torch.arange(m, device=model.device).expand_as(which)
        noise = torch.randn((*which.shape, model.spec.dimensions), generator=generator).to(q.mean)
        base = q.mean[which, images] + torch.exp(0.5 * q.log_variance[which, images]) * noise[..., :d]
        z = posterior.complete(which, base.unsqueeze(1), noise[..., d:].unsqueeze(1))[0].squeeze(1)
        prior = model.prior().sample(prior_samples, generator).to(q.mean)
        if model.spec.paper_compat:  # what shares a call shares its statistics
            parts = [sample_images(model, part, generator, progress) for part in (prior, *z)]
            drawn = torch.cat(parts)
        else:
            drawn = sample_images(model, torch.cat([prior, z.flatten(0, 1)]), generator, progress)
    rest = drawn[prior_samples:].unflatten(0, (len(shown) + 1, m))
    return Panels(drawn[:prior_samples], originals.cpu(), rest[:-1], shown, rest[-1])


def sample_images(
    model: ImageModel,
    z: Tensor,
    generator: torch.Generator,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """One image from p(x|z) for each latent [N, D]: [N, C, H, W] on the CPU, values k / 255, or 0 and 1.

    Random numbers come from `generator`, on the CPU, in an order that does not depend on the device.
    """
    shape, grey = model.spec.shape, model.spec.likelihood == "bernoulli"
    draw = _draw_grey if grey else _draw_colour
    reach = max(shape.height, shape.width) if model.spec.paper_compat else model.spec.pixel_layers
    images = torch.zeros((len(z), shape.channels, shape.height, shape.width), device=z.device, dtype=z.dtype)
    with torch.no_grad():
        context = model.decoder.context(z)
        for row in range(shape.height):
            for column in range(shape.width):
                window, at = _window(row, column, reach, shape.height, shape.width, model.spec.paper_compat)
                output = model.decoder.pixels(images[window], context[window])[:, :, at[0], at[1]]
                images[:, :, row, column] = draw(output, generator)
            if progress is not None:
                progress((row + 1) * shape.width, shape.height * shape.width)
    return images.cpu()


def _window(
    row: int, column: int, reach: int, height: int, width: int, whole: bool
) -> tuple[tuple[slice, slice, slice, slice], tuple[int, int]]:
    """What a pixel depends on, clipped to the image, and where in it the pixel is."""
    everything = slice(None)
    if whole:
        return (everything, everything, slice(0, height), slice(0, width)), (row, column)
    top, left = max(0, row - reach), max(0, column - reach)
    right = min(width, column + reach + 1)
    return (everything, everything, slice(top, row + 1), slice(left, right)), (row - top, column - left)


def _draw_grey(output: Tensor, generator: torch.Generator) -> Tensor:
    """[N, 1] logits -> [N, 1] of 0 and 1."""
    uniform = torch.rand(output.shape, generator=generator).to(output)
    return (uniform < torch.sigmoid(output)).to(output)


def _draw_colour(output: Tensor, generator: torch.Generator) -> Tensor:
    """[N, 10 M] parameters -> [N, 3] of k / 255: red, then green given red, then blue given both."""
    log_weights, means, log_scales, coefficients = logistic_parameters(output[:, :, None, None])
    N, M = output.shape[0], log_weights.shape[1]
    uniform = torch.rand((N, M), generator=generator).clamp(SMALLEST_UNIFORM, 1 - SMALLEST_UNIFORM).to(output)
    chosen = (log_weights[:, :, 0, 0] - torch.log(-torch.log(uniform))).argmax(1)
    pick = chosen.view(N, 1, 1, 1, 1).expand(N, 3, 1, 1, 1)
    mean, log_scale, coefficient = (part.gather(2, pick) for part in (means, log_scales, coefficients))
    noise = torch.logit(torch.rand((N, 3), generator=generator).clamp(SMALLEST_UNIFORM, 1 - SMALLEST_UNIFORM)).to(
        output
    )
    x = torch.zeros((N, 3, 1, 1), device=output.device, dtype=output.dtype)
    for colour in range(3):
        moved = colour_means(mean, coefficient, x)[:, colour, 0]
        value = moved + torch.exp(log_scale[:, colour, 0]) * noise[:, colour].view(N, 1, 1)
        level = torch.round((value.clamp(-1.0, 1.0) + 1.0) * 0.5 * LEVELS)
        x[:, colour] = 2.0 * level / LEVELS - 1.0
    return torch.round((x[:, :, 0, 0] + 1.0) * 0.5 * LEVELS) / LEVELS
