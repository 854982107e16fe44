"""The plane of the latents: principal axes by another way, and a picture of it."""

import io

import numpy as np
import pytest
import torch
from matplotlib import image as png
from tiny_models import all_images, tiny_model

from vbpi_mix.errors import ConfigError
from vbpi_mix.image.figures import draw_latent_plane
from vbpi_mix.image.latent_plane import LatentPlane, component_means, latent_plane


def plane_of(model, shown, labels=None, images=None):
    images = all_images() if images is None else images
    return latent_plane(model, images, shown, labels, torch.Generator().manual_seed(1))


def test_points_are_component_means_along_the_eigenvectors_of_their_covariance():
    model = tiny_model(3, 4)
    plane = plane_of(model, (0, 2))
    means = torch.stack([model.encode(all_images()[n : n + 1]).mean[:, 0] for n in range(16)], 1).detach().double().numpy()
    assert np.allclose(component_means(model, all_images()), means, atol=1e-6)
    assert set(plane.components.tolist()) == {0, 2}
    values, vectors = np.linalg.eigh(np.cov(means.reshape(-1, 4), rowvar=False))
    own = means[plane.components, np.arange(16)] - means.reshape(-1, 4).mean(0)
    for axis in (0, 1):
        wanted = own @ vectors[:, 3 - axis]
        sign = np.sign(wanted @ plane.points[:, axis])
        assert np.allclose(sign * plane.points[:, axis], wanted, atol=1e-6)
        assert plane.shares[axis] == pytest.approx(values[3 - axis] / values.sum(), rel=1e-6)


def test_one_dimension_is_a_line_and_one_image_is_refused():
    plane = plane_of(tiny_model(2, 1), (0, 1))
    assert plane.shares == (pytest.approx(1.0), 0.0)
    assert not plane.points[:, 1].any()
    assert plane.points[:, 0].std() > 0
    with pytest.raises(ConfigError, match="take at least 2"):
        plane_of(tiny_model(2, 1), (0,), images=all_images()[:1])


def test_two_levels_show_the_upper_one():
    model = tiny_model(2, 3, levels=2, lower_layers=((4, 3, 1),))
    assert component_means(model, all_images()).shape == (2, 16, 3)


def test_picture_has_a_panel_for_labels_where_there_are_any():
    random = np.random.default_rng(1)
    points, components = random.standard_normal((60, 2)), random.integers(0, 2, 60)
    widths = []
    for labels in (None, random.integers(0, 10, 60)):
        plane = LatentPlane(points, 3 * components, (0, 3), labels, (0.5, 0.2))
        content = draw_latent_plane(plane, "a title")
        assert content == draw_latent_plane(plane, "a title")
        pixels = png.imread(io.BytesIO(content), format="png")
        widths.append(pixels.shape[1])
        assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 50  # colours, and their edges
    assert widths[1] == 2 * widths[0]
